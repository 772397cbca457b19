"""Small integers: ranges, missing values, steps at their very edges, against the same in Python."""

import math
import random

from pyspark.sql import functions as F

from features.buckets import hashed, octave, place_in, tenths


def step(number: float | None, size: int, parts: int) -> int:
    """The octave scale by rational arithmetic."""
    if number is None or number < 1:
        return 0 if number is None else 1
    whole = math.floor(number)
    place = whole.bit_length() - 1
    return min(2 + place * parts + (whole * parts >> place) - parts, size - 1)


def test_octaves_equal_python_at_and_around_every_edge(spark):
    rng = random.Random(2)
    edges = [2**n * quarter // 4 + off for n in range(40) for quarter in (4, 5, 6, 7) for off in (-1, 0, 1)]
    numbers = [None, -5, 0, *edges, *(rng.randrange(1 << 50) for _ in range(300))]
    rows = spark.createDataFrame([(n,) for n in numbers], "n bigint")
    rows = rows.select("n", octave(F.col("n"), 32).alias("one"), octave(F.col("n"), 128, 4).alias("four")).collect()
    assert len(rows) == len(numbers) > 700
    for row in rows:
        assert (row.one, row.four) == (step(row.n, 32, 1), step(row.n, 128, 4)), row.n
    small = {n: step(n, 128, 4) for n in (1, 2, 3, 4, 5, 8)}
    assert small == {1: 2, 2: 6, 3: 8, 4: 10, 5: 11, 8: 14}  # an octave has four steps once it has four numbers


def test_fractions_are_cut_off(spark):
    rows = spark.createDataFrame([(0.0,), (0.999999,), (1.0,), (1.999999,), (2.0,), (None,)], "n double")
    assert [row[0] for row in rows.select(octave(F.col("n"), 32)).collect()] == [1, 1, 2, 2, 3, 0]


def test_hashes_fill_their_range_and_leave_zero_to_nothing(spark):
    rows = (
        spark.range(3000).select(hashed(F.col("id").cast("string"), 8).alias("few"), hashed(F.col("id"), 1 << 18).alias("many")).collect()
    )
    counts = [sum(row.few == n for row in rows) for n in range(8)]
    assert counts[0] == 0 and min(counts[1:]) > 300  # 3000 / 7 = 429 each
    assert len({row.many for row in rows}) > 2970  # 3000**2 / 2 / 2**18 = 17 pairs meet
    nothing, one, path = spark.range(1).select(
        hashed(F.lit(None).cast("string"), 8), hashed(F.lit("a"), 2), hashed(F.array(F.lit("a"), F.lit("b")), 1 << 18)
    ).first()  # fmt: skip
    assert (nothing, one) == (0, 1) and path > 1


def test_places_and_tenths(spark):
    names = ("search", "rec", "shop")
    rows = spark.createDataFrame(
        [("search", 0, 4), ("shop", 1, 3), ("ads", 4, 4), (None, 2, 0), ("rec", None, 5)], "name string, n int, of int"
    )
    found = rows.select(place_in(names, F.col("name")), tenths(F.col("n"), F.col("of"))).collect()
    assert [tuple(row) for row in found] == [(1, 1), (3, 4), (0, 11), (0, 0), (2, 0)]  # 3 of 10 tenths in a third
