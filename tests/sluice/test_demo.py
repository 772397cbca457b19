"""What the demo says of rare queries, against a lake whose counts are known."""

from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.run import UsageError
from schemas.contract import load
from sluice import demo
from tests.sluice.report.planted import long_tail, put


def test_rare_queries_are_told_as_their_receipts_and_the_truth_have_them(tmp_path, monkeypatch):
    day, lake = date(2026, 1, 5), tmp_path / "lake"
    monkeypatch.setattr(demo, "LAST", day)
    for name in ("items", "requests", "events", "attributions", "query_item_stats"):
        put(lake, load(name), day)
    long_tail(lake, day)
    (lake / demo.TRUTH / "queries").mkdir(parents=True)
    pq.write_table(pa.table({"query_norm": ["q3"], "item_id": ["b"]}), lake / demo.TRUTH / "queries" / "0.parquet")
    told = demo._rare_queries(str(lake), lake / demo.TRUTH)
    counts = {"in_pool": 3, "rewritten": 2, "all_dropped": 0, "no_rewrite": 1, "with_pairs": 1, "pairs": 2, "judged": 2, "precision": 0.5}
    assert told == {"day": "2026-01-05"} | counts
    assert demo._rare_sentence(told) == (
        "3 rare, badly served queries, 2 reworded, 1 paired with items: 2 pairs, 50% of them right by what the simulator planted"
    )
    none = told | {"with_pairs": 0, "pairs": 0, "judged": 0, "precision": None}
    assert demo._rare_sentence(none).endswith("0 paired with items: 0 pairs")


def test_a_folder_that_no_demo_made_is_left_alone(tmp_path):
    (tmp_path / "mine").write_text("kept")
    with pytest.raises(UsageError, match="holds something that no demo made; choose another folder with --lake"):
        demo._make_room(Path(tmp_path))
    assert (tmp_path / "mine").read_text() == "kept"
