import pytest
from pyspark.sql import functions as F

from features.splits import is_evaluation


def test_a_fifth_of_the_queries_is_kept_whatever_the_order_of_their_words(spark):
    queries = spark.range(5000).select(
        F.concat(F.lit("red lamp "), "id").alias("query"), F.concat("id", F.lit(", LAMP red lamp")).alias("twin")
    )
    split = queries.select(is_evaluation(F.col("query")).alias("own"), is_evaluation(F.col("twin")).alias("twins"))
    found = {(row.own, row.twins): row["count"] for row in split.groupBy("own", "twins").count().collect()}
    assert found.keys() == {(True, True), (False, False)}
    assert 900 <= found[True, True] <= 1100  # 1,000 +- 28 expected


def test_share_and_seed_decide_and_a_missing_query_is_no_evaluation_query(spark):
    queries = spark.range(1000).select(F.col("id").cast("string").alias("query"))
    columns = {"all": (1.0, 17), "none": (0.0, 17), "half": (0.5, 17), "other": (0.5, 18)}
    split = queries.select(*(is_evaluation(F.col("query"), share, seed).alias(name) for name, (share, seed) in columns.items()))
    counts = split.agg(
        *(F.count_if(name).alias(name) for name in columns), F.count_if(F.col("half") & F.col("other")).alias("both")
    ).first()
    assert (counts["all"], counts["none"]) == (1000, 0)
    assert 400 < counts.half < 600 and 400 < counts.other < 600 and 170 < counts.both < 330  # independent draws: a quarter in both
    empty = spark.createDataFrame([(None,), ("",), (" \t",), ("!?",)], "query string")
    assert [row[0] for row in empty.select(is_evaluation(F.col("query"), 1.0)).collect()] == [False, False, False, True]


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_share_outside_its_range_is_an_error(spark, share):
    with pytest.raises(ValueError, match="must be between 0 and 1"):
        is_evaluation(F.col("query"), share)
