import pytest
from pyspark.sql import functions as F

from features.feedback import by_feedback
from features.longtail import Params, query_words, searchable, vocabulary
from jobs.session import suited_to
from schemas.items import CONTRACT as ITEMS
from tests.frames import frame

TITLES = [
    "Kavo oak desk lamp",
    "Lumi brass desk lamp 40",
    "Lumi brass desk lamp 60",
    "Kavo oak bench",
    "Wool scarf",
    "Silk scarf",
    None,
    "",
]
QUERIES = {
    "warm desk": "knowledge",
    "glow stick": "knowledge",
    "bag like kavo": "alternative",
    "scarf without wool": "negation",
    "kavo bench": "plain",
}
CLICKS = [("stick", "i1", 3), ("stick", "i2", 2), ("stick", "i4", 1)]


@pytest.fixture(scope="module")
def world(spark):
    items = frame(spark, ITEMS, [{"item_id": f"i{n}", "title": t, "brand": (t and t.split(" ")[0]) or None} for n, t in enumerate(TITLES)])
    items = items.withColumn("brand", F.when(F.lower("brand").isin("kavo", "lumi"), F.col("brand")))
    asked = spark.createDataFrame(list(QUERIES.items()), "query_norm string, hardness string")
    lexicon = vocabulary(items)
    by_word = query_words(asked, lexicon, items)
    return items, lexicon, by_word, searchable(asked, by_word)


def test_what_of_a_query_is_searched_by(spark, world):
    with suited_to(spark, 0):
        found = {r.query_norm: r for r in world[3].collect()}
    assert set(found) == set(QUERIES)
    assert (found["warm desk"].wanted, found["warm desk"].kept) == (["warm", "desk"], ["desk"])  # warm is in no title
    assert (found["bag like kavo"].kept, found["bag like kavo"].excluded) == ([], ["kavo"])  # it wants another brand
    assert (found["kavo bench"].kept, found["kavo bench"].query_brands) == (["kavo", "bench"], [["kavo"]])
    assert (found["scarf without wool"].wanted, found["scarf without wool"].excluded) == (["scarf"], ["wool"])
    rarity = {w.word: w.rarity for w in found["warm desk"].asked}
    assert rarity == {"warm": 320, "desk": 181}  # 8 items: 100 * (log(9 / 1) + 1), 100 * (log(9 / 4) + 1)


def test_words_of_the_items_found_by_words_and_by_clicks(spark, world):
    items, lexicon, by_word, pool = world
    clicked = spark.createDataFrame(CLICKS, "query_norm string, item_id string, num_sessions bigint")
    with suited_to(spark, 0):
        rows = by_feedback(pool, by_word, lexicon, items, clicked, Params()).collect()
        again = by_feedback(pool.repartition(5), by_word, lexicon, items.repartition(3), clicked, Params()).collect()
    assert sorted(rows, key=str) == sorted(again, key=str)
    found = {(r.query_norm, r.rewrite): r.score for r in rows}
    assert found[("warm desk", "desk lamp")] == 10_000  # all three desks are lamps
    assert found[("warm desk", "desk lamp brass")] == 8334  # and two of them of brass: the mean of 1 and 0.6667; no brand, no number
    sticks = {rewrite for query, rewrite in found if query == "glow stick"}  # no title has a word of it, clicks know what it is
    assert sticks == {"brass", "brass desk lamp"}
    assert not [r for q, r in found if "wool" in r.split() or "lumi" in r.split() or "40" in r.split()]
    assert all(r.evidence is None for r in rows)
