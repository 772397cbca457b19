"""The draw against an oracle in DuckDB that is given only the hashes, and its chances over many requests."""

import random
from collections import Counter

import duckdb
import pytest
from pyspark.sql import functions as F

from features.es3 import Params
from features.sampling import draw, draw_counts
from schemas.requests import CONTRACT, STAGES
from tests.frames import frame

PARAMS = Params()
ORACLE = """
with best as (
    select *, row_number() over (partition by request_id, item_id order by is_exposed desc, position nulls last,
        list_position(['exposed', 'ranked', 'pre_ranked', 'recalled'], stage), place) as copy,
        stage in ('ranked', 'exposed') and not is_exposed as is_available
    from candidates
), numbered as (
    select *, row_number() over (partition by request_id, is_available order by hash, item_id) as n,
        count(*) filter (is_exposed) over (partition by request_id) as num_exposed,
        count(*) filter (is_available) over (partition by request_id) as num_available
    from best where copy = 1
), drawn as (
    select *, case when is_exposed then 1.0::double else least(2 * num_exposed, num_available)::double / num_available end as p_inclusion
    from numbered where is_exposed or is_available and n <= 2 * num_exposed
)
select request_id, item_id, stage, is_exposed, position, price_cents, p_inclusion from drawn
order by request_id, is_exposed desc, position nulls last, item_id
"""


def requests(number: int) -> list[dict[str, object]]:
    """Lists of many shapes: empty, nothing exposed, too few unexposed, repeated items, tied and absent positions."""
    rng = random.Random(11)
    rows = []
    for n in range(number):
        items = [f"i{rng.randrange(rng.choice([6, 40]))}" for _ in range(rng.randrange(25))]
        share = rng.choice([0.0, 0.1, 0.3, 1.0])
        shown = [rng.random() < share for _ in items]
        rows.append({"request_id": f"r{n:04d}", "candidates": [
            {"item_id": item, "is_exposed": is_shown, "position": rng.choice([None, 1, 2, 3]) if is_shown else None, "price_cents": place,
             "stage": "exposed" if is_shown else rng.choice(STAGES)}
            for place, (item, is_shown) in enumerate(zip(items, shown, strict=True))
        ]})  # fmt: skip
    return rows


@pytest.fixture(scope="module")
def generated(spark):
    return frame(spark, CONTRACT, requests(600)).select(
        "request_id", "candidates", draw(F.col("candidates"), F.col("request_id")).alias("drawn")
    )


def test_every_list_equals_the_oracle(generated):
    hashed = generated.select("request_id", F.posexplode("candidates").alias("place", "c")).select(
        "request_id", "place", "c.*", F.xxhash64(F.lit(PARAMS.seed), "request_id", "c.item_id").alias("hash")
    )
    with duckdb.connect() as connection:
        connection.register("candidates", hashed.toArrow())
        expected = connection.execute(ORACLE).fetchall()
    drawn = generated.orderBy("request_id").select("request_id", F.explode("drawn").alias("c"))
    names = ("item_id", "stage", "is_exposed", "position", "price_cents", "p_inclusion")
    rows = drawn.select("request_id", *(f"c.{name}" for name in names)).toArrow().to_pylist()
    assert 100 < sum(row[6] < 1 for row in expected) < len(expected) / 2
    assert [tuple(row.values()) for row in rows] == expected


def test_counts_say_what_became_of_every_candidate(generated):
    counts = draw_counts(F.col("candidates"), F.col("drawn")).alias("counts")
    rows = generated.select("candidates", "drawn", counts).collect()
    total = Counter()
    for row in rows:
        kept = [c.is_exposed for c in row.drawn]
        distinct = {c.item_id for c in row.candidates}
        expected = (sum(kept), len(kept) - sum(kept), len(distinct) - len(kept), len(row.candidates) - len(distinct))
        assert tuple(row.counts) == expected
        assert row.counts.exposed == len({c.item_id for c in row.candidates if c.is_exposed})
        total.update(row.counts.asDict())
    assert min(total.values()) > 100 and sum(total.values()) == sum(len(row.candidates) for row in rows)


def test_chances_are_the_stated_ones(spark):
    """3 exposed and 20 available in each of 4,000 requests: each is drawn with chance 6 / 20, place in the list and name aside."""
    number, available = 4000, 20
    candidates = F.transform(
        F.sequence(F.lit(1), F.lit(3 + available)),
        lambda n: F.struct(
            F.format_string("i%02d", n).alias("item_id"), F.lit("ranked").alias("stage"), (n <= 3).alias("is_exposed"),
            F.when(n <= 3, n).cast("int").alias("position"),
        ),
    )  # fmt: skip
    lists = spark.range(number).select(F.col("id").cast("string").alias("request_id"), candidates.alias("candidates"))
    drawn = lists.select(F.explode(draw(F.col("candidates"), F.col("request_id"))).alias("c")).where("not c.is_exposed")
    rows = drawn.groupBy("c.item_id").agg(F.count("*").alias("n"), F.min("c.p_inclusion"), F.max("c.p_inclusion")).collect()
    assert {(row[2], row[3]) for row in rows} == {(0.3, 0.3)} and sum(row.n for row in rows) == number * 6
    # sum over items of (n - mean)^2 / (number * p * (1 - p)) * (available - 1) / available is chi-square with 19 degrees: 99.9 % below 43.8
    spread = sum((row.n - number * 0.3) ** 2 for row in rows) / (number * 0.3 * 0.7) * (available - 1) / available
    assert len(rows) == available and 3 < spread < 43.8


def test_another_seed_and_another_request_draw_others(spark):
    shown = [{"item_id": "x", "is_exposed": True, "position": 1}]
    rows = [{"candidates": shown + [{"item_id": f"i{n}"} for n in range(60)]} for _ in range(2)]
    lists = frame(spark, CONTRACT, rows)
    draws = [draw(F.col("candidates"), F.col("request_id"), params=Params(seed=seed))["item_id"] for seed in (1, 1, 2)]
    first, second = lists.orderBy("request_id").select(*draws).collect()
    assert first[0] == first[1] != first[2]
    assert first[0] != second[0]


def test_a_null_list_is_null_and_counts_nothing(spark):
    rows = frame(spark, CONTRACT, [{"candidates": None}]).select(
        draw(F.col("candidates"), F.col("request_id")).alias("drawn"), "candidates"
    )
    assert rows.select("drawn", draw_counts(F.col("candidates"), F.col("drawn"))).collect() == [(None, (0, 0, 0, 0))]


def test_refuses_a_draw_of_nothing():
    with pytest.raises(ValueError, match="unexposed_per_exposed is 0"):
        draw(None, None, params=Params(unexposed_per_exposed=0))
