"""The stage table of a published day against a recount of its files by DuckDB, and its bytes against files written anew."""

import json
import random
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.run import publish_rows
from jobs.storage import NotPublishedError, open_table
from schemas.entire_space import CONTRACT
from sluice.stages import MEASURES, PAPER, facts, notes, report, stage_rows, stage_table
from tests.frames import frame

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

DAY, WORDY = date(2026, 1, 5), date(2026, 1, 6)
MORNING = datetime(2026, 1, 5, tzinfo=UTC)
LABEL_AS_OF = date(2026, 1, 9)
RECOUNT = """
with requests as (select * from read_parquet($files)), samples as (select is_pseudo, unnest(items, recursive := true) from requests)
select (select count(*) from requests where not is_pseudo), (select count(*) from requests),
    count(*) filter (not is_pseudo and is_exposed), count(*) filter (not is_pseudo), count(*),
    count(*) filter (not is_pseudo and sample_type = 'click'), count(*) filter (not is_pseudo and y_click = 1),
    count(*) filter (y_click = 1),
    count(*) filter (is_pseudo), count(*) filter (is_pseudo and y_click = 1)
from samples
"""


def sample(rng: random.Random, number: int, *, is_exposed: bool, is_positive: bool, is_native: bool) -> dict[str, Any]:
    label = {"y_click": 1, "label_source": "click_exposed", "attributed_event_id": f"e{number}", "attribution_lag_s": rng.uniform(0, 9000)}
    kind = "click" if is_positive and is_native and is_exposed else "exposed" if is_exposed else "unexposed"
    facts = {
        "item_id": f"i{number}",
        "is_exposed": is_exposed,
        "sample_type": kind,
        "price_cents": rng.randrange(10_000),
        "p_inclusion": 1.0,
    }
    return facts | {"weight": 1.0, "score": rng.random()} | (label if is_positive else {})


def rows(day: date, context: dict[str, str]) -> list[dict[str, Any]]:
    """120 searches and 90 pseudo-requests of many lengths."""
    rng = random.Random(day.day)
    made = []
    for n in range(210):
        is_pseudo = n >= 120
        domain = rng.choice(["rec", "shop"]) if is_pseudo else "search"
        shown, drawn = rng.randrange(1, 9), 0 if is_pseudo else rng.randrange(12)
        places = range(shown + drawn)
        lucky = {0} if is_pseudo else {place for place in places if rng.random() < 0.2}
        items = [
            sample(rng, place, is_exposed=place < shown, is_positive=place in lucky, is_native=is_pseudo or rng.random() < 0.6)
            for place in places
        ]
        made.append({
            "request_id": f"pseudo:e{n}" if is_pseudo else f"r{n}", "day": day, "domain": domain, "is_pseudo": is_pseudo, "items": items,
            "query_source": "user_history" if is_pseudo else "native", "query_norm": f"words {n}", "page_context": context or None,
            "requested_at": datetime(day.year, day.month, day.day, 9, tzinfo=UTC) + timedelta(seconds=n),
        })  # fmt: skip
    return made


@pytest.fixture(scope="module")
def lake(spark: "SparkSession", tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two days through the gate: one as usual, one whose requests carry much that a flat table would repeat."""
    lake = str(tmp_path_factory.mktemp("lake"))
    rng = random.Random(1)
    wordy = {f"feature {n}": "".join(rng.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=40)) for n in range(20)}
    for day, context in ((DAY, {}), (WORDY, wordy)):
        draft = {"seen": 0, "code": "c", "contract": "c", "suite": "s", "options": {}, "inputs": {}, "accounts": [], "reasons": ["made"]}
        draft |= {"label_as_of": LABEL_AS_OF.isoformat()}
        outcome = publish_rows(spark, lake, CONTRACT, frame(spark, CONTRACT, rows(day, context)), day, {}, draft)
        assert outcome.status == "published" and outcome.receipt["rows"] == 210
    return lake


def files(lake: str, day: date) -> list[str]:
    return [path.removeprefix("file://") for path in open_table(lake, CONTRACT).files([day])]


def test_the_stages_equal_a_recount_of_the_published_files(lake):
    found = facts(lake, DAY)
    with duckdb.connect() as connection:
        counts = connection.execute(RECOUNT, {"files": files(lake, DAY)}).fetchone()
    searches, requests, exposed, of_searches, samples, native, search_clicks, clicks, pseudo_samples, pseudo_clicks = counts
    assert [tuple(stage[m] for m in MEASURES) for stage in found["stages"]] == [
        (searches, exposed, native), (searches, of_searches, native), (searches, of_searches, search_clicks), (requests, samples, clicks),
    ]  # fmt: skip
    assert (searches, requests) == (120, 210) and 0 < native < search_clicks < clicks and exposed < of_searches < samples
    assert found["native_click_rate"] == native / exposed and found["cross_domain_positive_rate"] == pseudo_clicks / pseudo_samples
    for stage in found["stages"]:
        assert stage["ratio"] == {m: stage[m] / found["stages"][0][m] for m in MEASURES}


def test_the_json_has_one_shape(lake, capsys):
    report(lake, DAY, True)
    found = json.loads(capsys.readouterr().out)
    assert list(found) == ["day", "label_as_of", "stages", "native_click_rate", "cross_domain_positive_rate", "bytes"]
    assert (found["day"], found["label_as_of"]) == ("2026-01-05", "2026-01-09")
    assert [tuple(stage) for stage in found["stages"]] == [("stage", *MEASURES, "ratio", "paper")] * 4
    assert [(stage["stage"], tuple(stage["paper"].values())) for stage in found["stages"]] == list(PAPER)
    assert set(found["bytes"]) == {"grouped", "flat", "shuffled", "ratio", "ratio_shuffled", "paper", "in_memory"}


def test_bytes_are_those_of_files(lake, tmp_path):
    """Written again from the published files, flattened by DuckDB."""
    for day in (DAY, WORDY):
        whole = pa.concat_tables(pq.ParquetFile(path).read() for path in files(lake, day)).append_column("day", pa.array([day] * 210))
        whole = whole.replace_schema_metadata(None)  # Spark's own schema, 7 kB
        with duckdb.connect() as connection:
            connection.register("whole", whole)
            flat = connection.sql("select * exclude (items), unnest(items, recursive := true) from whole").to_arrow_table()
        sizes = {}
        for name, table in (("grouped", whole), ("flat", flat)):
            pq.write_table(table, tmp_path / name, compression="zstd")
            sizes[name] = (tmp_path / name).stat().st_size
        found = facts(lake, day)["bytes"]
        assert found["ratio"] == found["grouped"] / found["flat"]
        assert {name: found[name] for name in sizes} == pytest.approx(sizes, rel=0.1)


def test_grouping_saves_what_a_flat_table_repeats(lake):
    usual, wordy = (facts(lake, day)["bytes"] for day in (DAY, WORDY))
    assert wordy["flat"] > usual["flat"] and wordy["ratio"] < usual["ratio"]


def test_a_person_reads_counts_ratios_and_the_paper_beside_them(lake, capsys):
    report(lake, DAY, False)
    shown = capsys.readouterr().out
    found = facts(lake, DAY)
    assert "2026-01-05" in shown and "labels known to 2026-01-09" in shown
    assert all(name in shown for name, _ in PAPER) and "210 = 1.75x" in shown and "positive rate" in shown and "bytes:" in shown
    assert stage_table(found).row_count == 4 and len(notes(found)) == 2


def test_a_day_that_is_not_published_is_named(lake):
    with pytest.raises(NotPublishedError, match="2026-01-07"):
        facts(lake, date(2026, 1, 7))


def test_stages_only_add_and_nothing_has_no_ratio():
    names = (
        "search_requests",
        "exposed",
        "unexposed",
        "native_clicks",
        "search_clicks",
        "pseudo_requests",
        "pseudo_samples",
        "pseudo_clicks",
    )
    stages = stage_rows(dict(zip(names, (10, 100, 200, 5, 10, 10, 200, 10), strict=True)))
    assert [tuple(stage["ratio"].values()) for stage in stages] == [ratios for _, ratios in PAPER]
    assert all(a[m] <= b[m] for a, b in pairwise(stages) for m in MEASURES)
    assert {v for stage in stage_rows(dict.fromkeys(names, 0)) for v in stage["ratio"].values()} == {None}
