"""Counts by fate: each row or element in exactly one field, whatever is null."""

import random

import pytest
from pyspark.sql import functions as F

from features.books import counted, tally, tally_list

FATES = ("kept", "late", "gone")


@pytest.fixture(scope="module")
def generated(spark):
    """Rows and lists of many shapes: null fates, fates that are no fate of the account, empty and null lists."""
    rng = random.Random(5)
    names = [*FATES, None, "unknown"]
    rows = [
        (n, rng.choice(names), rng.choice([0, 1, 7]), None if rng.random() < 0.1 else [rng.choice(names) for _ in range(rng.randrange(6))])
        for n in range(400)
    ]
    frame = spark.createDataFrame(rows, "n int, fate string, rows int, fates array<string>")
    counts = frame.select(
        *frame.columns,
        tally(F.col("fate"), FATES, F.col("rows")).alias("tally"),
        tally(F.col("fate"), FATES).alias("one"),
        tally_list(F.col("fates"), lambda e: e, FATES).alias("list"),
        counted({"late": F.col("rows"), "kept": F.when(F.col("n") % 2 == 0, 3)}, FATES).alias("counted"),
    )
    return counts.collect(), counts.schema


def test_each_row_is_in_the_field_of_its_fate_and_in_no_other(generated):
    for row in generated[0]:
        assert row.tally.asDict() == {name: row["rows"] if row.fate == name else 0 for name in FATES}
        assert sum(row.one) == (row.fate in FATES)


def test_each_element_is_in_the_field_of_its_fate(generated):
    for row in generated[0]:
        assert row.list.asDict() == {name: (row.fates or []).count(name) for name in FATES}


def test_counts_given_are_kept_and_the_rest_is_zero(generated):
    for row in generated[0]:
        assert row.counted.asDict() == {"kept": 0 if row.n % 2 else 3, "late": row["rows"], "gone": 0}


def test_the_books_of_all_rows_balance(generated):
    rows = generated[0]
    right = {name: sum(row.one[name] for row in rows) for name in FATES}
    assert all(right.values()) and sum(right.values()) == sum(row.fate in FATES for row in rows)


def test_counts_are_long_and_in_the_order_of_the_account(generated):
    for name in ("tally", "one", "list", "counted"):
        assert [(f.name, f.dataType.simpleString()) for f in generated[1][name].dataType] == [(fate, "bigint") for fate in FATES]


def test_a_count_of_an_unknown_fate_is_refused(spark):
    with pytest.raises(ValueError, match="counted: lost is no fate of this account; it has kept, late, gone"):
        counted({"lost": F.lit(1)}, FATES)
