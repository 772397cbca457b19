"""How many times faster one compiled audit is than Great Expectations on the same suite and frame.

`python -m tests.benchmarks.gates [--rows N] [--rounds N]`. The two run in turn, in one process, and the medians are compared. Elements
of lists are left out: Great Expectations cannot look into them without an exploded copy.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from expectations.compile import audit, implied
from expectations.engine import validate
from expectations.events import SUITE
from expectations.suite import Expectation
from schemas.events import CONTRACT

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


def arg_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--rows", type=int, default=1_000_000, help="events in the frame")
    parser.add_argument("--rounds", type=int, default=3, help="times each of the two runs")
    return parser


def events(spark: "SparkSession", num_rows: int, folder: Path) -> "DataFrame":
    """A day of events in parquet, of every type, with nulls where the contract has them."""
    columns = {
        "day": "date'2026-01-05'",
        "event_id": "concat('e', id)",
        "user_id": "concat('u', id % 100003)",
        "session_id": "if(id % 10 = 0, null, concat('s', id % 500009))",
        "item_id": "concat('i', id * 7919 % 50021)",
        "event_type": "element_at(array('click', 'click', 'click', 'detail', 'cart', 'fav', 'pay'), cast(id % 7 + 1 as int))",
        "domain": "element_at(array('search', 'rec', 'shop'), cast(id % 3 + 1 as int))",
        "event_at": "timestamp'2026-01-05 00:00:00' + make_dt_interval(0, 0, 0, id % 80000)",
        "available_at": "timestamp'2026-01-05 00:00:00' + make_dt_interval(0, 0, 0, id % 80000 + 60)",
        "request_id": "if(id % 3 = 0, null, concat('r', id % 300007))",
        "query_raw": "if(id % 3 = 0, concat('query ', id % 9973), null)",
        "order_id": "if(id % 7 = 6, concat('o', id), null)",
        "amount_cents": "if(id % 7 = 6, id % 100000, null)",
        "dwell_s": "if(id % 7 = 3, id % 600 / 10D, null)",
    }
    path = str(folder / "events")
    spark.range(num_rows).selectExpr(*(f"{sql} as {name}" for name, sql in columns.items())).write.parquet(path)
    return spark.read.parquet(path)


def suite() -> list[Expectation]:
    """What the gate of `events` asks, and the figures that a careful owner would add: 24 or more in all."""
    more = [
        Expectation("expect_column_values_to_be_in_set", {"column": "domain", "value_set": ["search", "rec", "shop"]}),
        Expectation("expect_column_values_to_match_regex", {"column": "item_id", "regex": "^i[0-9]+$"}),
        Expectation("expect_column_pair_values_a_to_be_greater_than_b", {"column_A": "available_at", "column_B": "event_at"}),
        Expectation("expect_column_mean_to_be_between", {"column": "amount_cents", "min_value": 1}),
        Expectation("expect_column_stdev_to_be_between", {"column": "dwell_s", "min_value": 1}),
        Expectation("expect_column_value_lengths_to_be_between", {"column": "user_id", "min_value": 2, "max_value": 12}),
        Expectation("expect_column_min_to_be_between", {"column": "dwell_s", "min_value": 0}),
        Expectation("expect_column_sum_to_be_between", {"column": "amount_cents", "min_value": 0}),
        Expectation("expect_column_values_to_not_be_null", {"column": "session_id", "mostly": 0.8}),
        Expectation("expect_column_values_to_not_be_in_set", {"column": "user_id", "value_set": ["", "null", "NA"]}),
    ]
    rows = [each for each in (*implied(CONTRACT), *SUITE.expectations) if each.over is None]
    return [*rows, *more]


def seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def main(rows: int, rounds: int) -> None:
    from pyspark.sql import SparkSession

    os.environ["PYSPARK_PYTHON"] = sys.executable
    settings = {"spark.ui.enabled": "false", "spark.ui.showConsoleProgress": "false", "spark.sql.session.timeZone": "UTC"}
    builder = SparkSession.builder.master(f"local[{os.cpu_count()}]").appName("gates")
    for name, value in settings.items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    with tempfile.TemporaryDirectory() as folder:
        frame, wanted = events(spark, rows, Path(folder)), suite()
        sides = {"compiled": lambda: audit(frame, wanted)[0], "Great Expectations": lambda: validate(frame, wanted)}
        found = {name: [each["success"] for each in side()] for name, side in sides.items()}  # warms both up
        assert found["compiled"] == found["Great Expectations"], "they disagree"
        taken: dict[str, list[float]] = {name: [] for name in sides}
        for _ in range(rounds):
            for name, side in sides.items():
                taken[name].append(seconds(side))
    medians = {name: statistics.median(values) for name, values in taken.items()}
    for name, values in taken.items():
        print(f"{name}: {len(wanted)} expectations, {rows:,} rows, median {medians[name]:.2f} s of {', '.join(f'{v:.2f}' for v in values)}")
    print(f"ratio: {medians['Great Expectations'] / medians['compiled']:.1f}")
    spark.stop()


if __name__ == "__main__":
    main(**vars(arg_parser().parse_args()))
