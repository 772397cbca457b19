"""As-of join against a brute-force oracle in DuckDB, and its edges by hand."""

import random
from datetime import UTC, datetime, timedelta

import duckdb
import pytest
from pyspark.sql import Row
from pyspark.sql import functions as F

from features.asof import as_of
from tests.features.attribution_cases import naive

NOON = datetime(2026, 1, 10, 12, tzinfo=UTC)
LEFT = "row_id int, shop string, item string, asked_at timestamp"
FACTS = "fact_id int, shop string, item string, available_at timestamp, price int, title string"
ORACLE = """
with pairs as (
    select l.row_id, f.*, row_number() over (
        partition by l.row_id order by f.available_at desc, f.price desc nulls last, f.fact_id desc) as n
    from left_rows l join facts f
    on l.shop = f.shop and l.item = f.item and f.available_at < l.asked_at and f.available_at >= l.asked_at - to_seconds($max_age_s)
)
select l.row_id, p.fact_id, p.available_at, p.price, p.title from left_rows l left join pairs p on p.row_id = l.row_id and p.n = 1
order by l.row_id
"""


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


@pytest.fixture(scope="module")
def generated(spark):
    """Times on a grid of ten minutes so that they tie, null keys and times, a hot key with a third of both sides, nulls in facts."""
    rng = random.Random(4)

    def key():
        return ("s0", "hot") if rng.random() < 0.33 else (rng.choice(["s0", "s1", None]), rng.choice([*(f"i{n}" for n in range(9)), None]))

    def moment():
        return at(10 * rng.randrange(40)) + timedelta(microseconds=rng.randrange(-1, 2)) if rng.random() < 0.97 else None

    left = [(n, *key(), moment()) for n in range(1500)]
    facts = [(n, *key(), moment(), rng.choice([None, 1, 2, 3]), rng.choice([None, "a", "b"])) for n in range(1500)]
    return spark.createDataFrame(left, LEFT), spark.createDataFrame(facts, FACTS)


@pytest.mark.parametrize("max_age_s", [None, 600])
def test_every_row_equals_the_brute_force_oracle(generated, max_age_s):
    left, facts = generated
    with duckdb.connect() as connection:
        connection.register("left_rows", naive(left.toArrow()))
        connection.register("facts", naive(facts.toArrow()))
        expected = connection.execute(ORACLE, {"max_age_s": max_age_s or 10**9}).fetchall()
    ages = [row[1] is not None for row in expected]
    assert 200 < sum(ages) < 1400  # with a fact and without, both often
    joined = as_of(left, facts, on=["shop", "item"], left_time="asked_at", values=["fact_id", "price", "title"],
                   ties=["price", "fact_id"], max_age_s=max_age_s)  # fmt: skip
    rows = joined.orderBy("row_id").select("row_id", "fact.fact_id", "fact.available_at", "fact.price", "fact.title")
    assert [tuple(row.values()) for row in naive(rows.toArrow()).to_pylist()] == expected


def test_partitions_change_nothing(spark, generated):
    left, facts = generated
    given = {"on": ["shop", "item"], "left_time": "asked_at", "values": ["fact_id", "price", "title"], "ties": ["price", "fact_id"]}
    once = as_of(left, facts, **given).orderBy("row_id").collect()
    spark.conf.set("spark.sql.shuffle.partitions", "6")
    try:
        again = as_of(left.repartition(3), facts.orderBy(F.rand(1)).repartition(4), **given).orderBy("row_id").collect()
    finally:
        spark.conf.set("spark.sql.shuffle.partitions", "1")
    assert again == once and len(once) == 1500


def test_edges_of_time_and_age(spark):
    """A fact at the very moment is the future; the oldest that counts is max_age_s old to the microsecond; nulls stay in their row."""
    micro = timedelta(microseconds=1)
    left = spark.createDataFrame(
        [(0, "s", "equal", at(0)), (1, "s", "just_before", at(0)), (2, "s", "as_old_as_allowed", at(0)), (3, "s", "too_old", at(0)),
         (4, "s", "nulls", at(0)), (5, None, "null_key", at(0)), (6, "s", "nulls", None), (1, "s", "just_before", at(0))],
        LEFT)  # fmt: skip
    facts = spark.createDataFrame(
        [(0, "s", "equal", at(0), 1, "x"), (1, "s", "just_before", at(0) - micro, 1, "x"), (2, "s", "as_old_as_allowed", at(-10), 1, "x"),
         (3, "s", "too_old", at(-10) - micro, 1, "x"), (4, "s", "nulls", at(-2), 7, "old"), (5, "s", "nulls", at(-1), None, "new"),
         (6, None, "null_key", at(-1), 1, "x"), (7, "s", "nulls", None, 1, "x")], FACTS)  # fmt: skip
    joined = as_of(left, facts, on=["shop", "item"], left_time="asked_at", values=["price", "title"], ties=["fact_id"], max_age_s=600)
    assert joined.columns == ["row_id", "shop", "item", "asked_at", "fact"]
    found = [(row.row_id, row.fact and tuple(row.fact[1:])) for row in joined.orderBy("row_id").collect()]
    assert found == [(0, None), (1, (1, "x")), (1, (1, "x")), (2, (1, "x")), (3, None), (4, (None, "new")), (5, None), (6, None)]


def test_no_facts_leaves_every_row(spark, generated):
    left, facts = generated
    joined = as_of(left, facts.limit(0), on=["item"], left_time="asked_at", values=["price"], ties=["fact_id"], into="offer")
    assert joined.groupBy(F.col("offer").isNull().alias("is_null")).count().collect() == [Row(is_null=True, count=1500)]


def test_wrong_arguments_are_named_all_at_once(generated):
    left, facts = generated
    with pytest.raises(ValueError, match=r"left lacks when; facts lack colour; left already has item.*; max_age_s is 0"):
        as_of(left, facts, on=["item"], left_time="when", values=["colour"], ties=["fact_id"], into="item", max_age_s=0)
    with pytest.raises(ValueError, match="ties is empty"):
        as_of(left, facts, on=["item"], left_time="asked_at", values=["price"], ties=[])
