"""Labels that flipped since a day was last published."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from jobs.reissue import labels_flipped
from schemas.contract import Column, Contract, load
from tests.frames import DAY
from tests.jobs.published import NOON, publish_day, stage, staged

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

LISTS = load("entire_space")
ROWS = Contract(
    "flat",
    ("request_id", "item_id"),
    "us",
    1,
    1,
    "Labels in the row itself.",
    (
        Column("day", "date", ""),
        Column("request_id", "string", ""),
        Column("item_id", "string", ""),
        Column("y_click", "int", ""),
        Column("y_pay", "int", ""),
    ),
    labels=("y_click", "y_pay"),
)
SAME = {"y_click": {"to_1": 0, "to_0": 0}, "y_pay": {"to_1": 0, "to_0": 0}}
# (request, item): (y_click, y_pay)
OLD = {("r1", "a"): (1, 0), ("r1", "b"): (0, 0), ("r1", "c"): (1, 1), ("r2", "a"): (0, 0), ("r2", "b"): (1, 0), ("r3", "a"): (0, 1)}
NEW = {("r1", "a"): (1, 1), ("r1", "b"): (1, 1), ("r1", "c"): (1, 0), ("r2", "a"): (1, 0), ("r3", "a"): (0, 1), ("r4", "a"): (0, 0)}
# y_click: r1 b and r2 a became 1; r2 b is gone and was 1. y_pay: r1 a and r1 b became 1, r1 c became 0
FLIPS = {"y_click": {"to_1": 2, "to_0": 1}, "y_pay": {"to_1": 2, "to_0": 1}}


def rows_of(contract: Contract, labels: dict[tuple[str, str], tuple[int, int]]) -> list[dict[str, Any]]:
    if not contract.elements:
        return [{"request_id": r, "item_id": i, "y_click": click, "y_pay": pay} for (r, i), (click, pay) in labels.items()]
    fixed = {"stage": "exposed", "is_exposed": True, "sample_type": "exposed", "p_inclusion": 1.0, "weight": 1.0}
    requests = [
        {
            "request_id": r,
            "user_id": "u",
            "domain": "search",
            "is_pseudo": False,
            "requested_at": NOON,
            "query_source": "native",
            "items": [],
        }
        for r in sorted({r for r, _ in labels})
    ]
    for row in requests:
        of_row = {item: values for (r, item), values in labels.items() if r == row["request_id"]}
        row["items"] = [fixed | {"item_id": item, "y_click": click, "y_pay": pay} for item, (click, pay) in of_row.items()]
    return requests


@pytest.mark.parametrize("contract", [LISTS, ROWS], ids=["in_lists", "in_rows"])
def test_flips_are_counted_in_both_directions(spark: "SparkSession", tmp_path: Path, contract: Contract) -> None:
    stage(tmp_path, contract, DAY, rows_of(contract, OLD), "new")
    assert labels_flipped(spark, str(tmp_path), contract, DAY, staged(tmp_path, contract, DAY, "new")) == {}  # nothing to compare with
    publish_day(tmp_path, contract, DAY, rows_of(contract, OLD))
    assert labels_flipped(spark, str(tmp_path), contract, DAY, staged(tmp_path, contract, DAY, "new")) == SAME
    stage(tmp_path, contract, DAY, rows_of(contract, NEW), "newer")
    assert labels_flipped(spark, str(tmp_path), contract, DAY, staged(tmp_path, contract, DAY, "newer")) == FLIPS
