"""What the making of rows took is in the receipt, of every row that was staged, and decides no row."""

from dataclasses import replace

from pyspark.sql import functions as F

from jobs.freshness import contract_fingerprint
from schemas.contract import Figure
from tests.jobs.counted import COUNTED, make_lake, run_day, spoiled, use_counted

CONTRACT = replace(COUNTED, figures=(Figure("effort", ("tokens", "calls"), "What it took."),))


def test_figures_add_up_over_rows_that_are_kept_left_out_and_quarantined(spark, tmp_path, monkeypatch):
    use_counted(monkeypatch, CONTRACT)
    calls = F.when(F.col("item_id") != "i2", 1).cast("int")  # null counts nothing

    def with_effort(rows):
        pays = F.when(F.col("item_id") == "i1", -1).otherwise(0)
        return rows.withColumns({"_effort": F.struct(F.lit(7).alias("tokens"), calls.alias("calls")), "num_pays_28d": pays})

    receipt = run_day(spark, make_lake(tmp_path), spoiled(with_effort), CONTRACT).receipt
    assert (receipt["rows"], receipt["quarantined"], receipt["excluded"]) == (2, {"pays_not_negative": 1}, {"uncredited": 1})
    assert receipt["figures"] == {"effort": {"tokens": 4 * 7, "calls": 3}}
    assert receipt["accounts"][0]["fates"] == {"counted": 2, "uncredited": 1, "quarantined": 1}


def test_a_contract_with_figures_is_no_other_contract_to_the_days_that_were_built():
    assert contract_fingerprint(CONTRACT) == contract_fingerprint(COUNTED)
