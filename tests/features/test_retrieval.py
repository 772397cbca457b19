"""Search by words and by vector: against plain Python on generated catalogues with many ties, whatever the blocks and partitions."""

import math
import random
from collections import Counter
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import functions as F

from features.retrieval import best_by_product, bm25_impacts, dense, first_best, merged, search
from features.text import words
from jobs.session import suited_to

K1, B, HITS, LEAST = 1.5, 0.75, 7, 0.5
WIDTH = 4
SCHEMA = "kind string, id string, rewrite string, text string, vector array<tinyint>"


def titles_of(rng, num):
    """Few words, so that many titles are equal and many scores tie; some without a title."""
    made = {f"i{n:03d}": " ".join(rng.choices("abcdefgh", weights=[8, 7, 6, 5, 2, 2, 1, 1], k=rng.randint(1, 6))) for n in range(num)}
    return made | {"none": None, "blank": " ", "emoji": "👟"}


def vector(rng):
    return [rng.randint(-100, 100) // 50 * 60 for _ in range(WIDTH)]  # -120, -60, 0, 60, 120


def asks_of(rng, num):
    found = [(f"q{n:02d}", rewrite, " ".join(rng.sample("abcdefghxy", rng.randint(1, 4)))) for n in range(num) for rewrite in ("", "r")]
    return [*found, ("q90", "", "zzz"), ("q91", "", "👟"), ("q92", "", "A a A")]


def bm25_by_hand(titles, text):
    """Scores of all titles by the formula, word after word, in whole 1e-4ths."""
    bags = {item: Counter(title.lower().split()) for item, title in titles.items() if (title or "").strip()}
    mean = sum(sum(bag.values()) for bag in bags.values()) / len(bags)
    found = {}
    for item, bag in bags.items():
        for word in set(text.lower().split()) & set(bag):
            with_word = sum(word in other for other in bags.values())
            rarity = math.log(1 + (len(bags) - with_word + 0.5) / (with_word + 0.5))
            damping = K1 * (1 - B + B * sum(bag.values()) / mean)
            impact = math.floor(10_000 * rarity * bag[word] / (bag[word] + damping) + 0.5)
            found[item] = found.get(item, 0) + impact
    return sorted((-score, item) for item, score in found.items())[:HITS]


def products_by_hand(vectors, asked):
    least = max(1, round(LEAST * 127 * 127))
    products = ((-sum(a * b for a, b in zip(asked, known, strict=True)), item) for item, known in vectors.items())
    return sorted((far, item) for far, item in products if -far >= least)[:HITS]


def told(asks, joints, block, rows, places):
    """A judge that says whom it was asked about: the number of the text's own words, and the place of the item among all ids."""
    sizes = np.array([len(w) for w in asks["words"].to_pylist()])
    return {"size": sizes[rows], "item": np.array([len(i.as_py()) for i in block.item_ids.take(pa.array(places))], dtype=np.int64)}


def searched(spark, titles, item_vectors, asks, ask_vectors, blocks, partitions, seed=0):
    items = [("item", item, "", title, item_vectors[item]) for item, title in titles.items()]
    texts = [("rewrite" if rewrite else "query", q, rewrite, text, ask_vectors[q, rewrite]) for q, rewrite, text in asks]
    rows = items + texts
    random.Random(seed).shuffle(rows)
    frame = spark.createDataFrame(rows, SCHEMA).repartition(partitions)
    catalogue = spark.createDataFrame(list(titles.items()), "item_id string, title string").repartition(partitions)
    impacts = bm25_impacts(catalogue, k1=K1, b=B).select(F.col("item_id").alias("id"), F.col("words").alias("own"), "impacts")
    is_item = F.col("kind") == "item"
    impacts = impacts.withColumn("kind", F.lit("item"))
    ready = frame.where(~is_item | words(F.col("text")).isNotNull()).join(impacts, on=["kind", "id"], how="left")
    ready = ready.withColumns({"words": F.when(is_item, F.col("own")).otherwise(words(F.col("text"))), "negated": F.array("id")})
    found = search(ready.drop("own", "text"), num_hits=HITS, min_cosine=LEAST, blocks=blocks, judge=told, judged=("size", "item"))
    with suited_to(spark, 0):  # small plans run faster than they compile
        return {(r.id, r.rewrite): (r.bm25, r.dense) for r in merged(found, HITS).collect()}


@pytest.fixture(scope="module")
def world():
    rng = random.Random(11)
    titles, asks = titles_of(rng, 90), asks_of(rng, 12)
    vectors = {item: vector(rng) for item in titles} | {"i001": None}
    return titles, vectors, asks, {(q, rewrite): vector(rng) for q, rewrite, _ in asks} | {("q90", ""): None}


def test_the_best_items_are_those_of_plain_python_for_any_blocks_and_partitions(spark, world):
    titles, vectors, asks, asked = world
    there = {item: v for item, v in vectors.items() if v and (titles[item] or "").strip()}
    expected = {(q, r): (bm25_by_hand(titles, text), products_by_hand(there, asked[q, r]) if asked[q, r] else []) for q, r, text in asks}
    tied = sum(any(a[0] == b[0] for a, b in pairwise(hits)) for both in expected.values() for hits in both)
    full = sum(len(hits) == HITS for both in expected.values() for hits in both)
    assert tied > 20 and full > 20
    for blocks, partitions in ((1, 1), (5, 3)):
        found = searched(spark, *world, blocks, partitions, seed=blocks)
        assert {key: tuple([(h.far, h.item_id) for h in hits] for hits in both) for key, both in found.items()} == expected
        assert expected["q90", ""] == ([], []) and expected["q91", ""][0][0][1] == "emoji"
        said = {(key[1] != "", h.size > 0, h.item == len(h.item_id)) for key, both in found.items() for hits in both for h in hits}
        assert said == {(True, True, True), (False, False, False)}, "rewrites are judged, queries are not"


def test_the_catalogue_s_own_figures_decide_not_the_block_s(spark):
    titles = {f"i{n}": "common word" for n in range(30)} | {"rare": "rare word"}
    catalogue = spark.createDataFrame(list(titles.items()), "item_id string, title string")
    (row,) = bm25_impacts(catalogue, k1=K1, b=B).where("item_id = 'rare'").collect()
    by_word = dict(zip(row.words, row.impacts, strict=True))
    assert by_word["rare"] == math.floor(10_000 * math.log(1 + 30.5 / 1.5) / (1 + K1) + 0.5)
    assert by_word["word"] == math.floor(10_000 * math.log(1 + 0.5 / 31.5) / (1 + K1) + 0.5)


def test_without_items_each_text_finds_nothing(spark):
    found = searched(
        spark, {"none": None}, {"none": [1] * WIDTH}, [("q", "", "a"), ("q", "r", "b")], {("q", ""): [1] * 4, ("q", "r"): None}, 2, 1
    )
    assert found == {("q", ""): ([], []), ("q", "r"): ([], [])}


def test_the_first_of_equal_scores_come_first():
    assert first_best(np.array([0, 5, 7, 5, 0, 5, 7]), 4).tolist() == [2, 6, 1, 3]
    assert first_best(np.array([0, 0]), 4).tolist() == [] and first_best(np.array([0, 3]), 4).tolist() == [1]


def test_ties_beyond_what_faiss_was_asked_for_are_found_too():
    known = np.array([[1, n] for n in range(-400, 400)], dtype=np.float32)  # all have the product 1 with (1, 0)
    known = np.concatenate([known, known[::-1]])
    rows, places, scores = best_by_product(np.array([[1, 0], [0, 1], [0, 0]], dtype=np.float32), known, 3, 1)
    assert (
        rows.tolist() == [0, 0, 0, 1, 1, 1] and places.tolist() == [0, 1, 2, 799, 800, 798] and scores.tolist() == [1, 1, 1, 399, 399, 398]
    )


def test_products_are_those_of_numpy_on_generated_vectors_with_twins():
    rng = np.random.default_rng(3)
    known, asked = rng.integers(-2, 3, (500, 3)).astype(np.float32), rng.integers(-2, 3, (60, 3)).astype(np.float32)
    rows, places, scores = best_by_product(asked, known, 9, 2)
    products = (asked @ known.T).astype(int)
    expected = [(n, p, row[p]) for n, row in enumerate(products) for p in np.argsort(-row, kind="stable")[:9] if row[p] >= 2]
    assert list(zip(rows, places, scores, strict=True)) == expected and len(expected) > 300


def test_vectors_of_two_lengths_are_refused():
    with pytest.raises(ValueError, match="vectors of 2 and of 3 numbers"):
        dense(pa.chunked_array([pa.array([[1, 2], [1, 2, 3]], pa.list_(pa.int8()))]), 3)
    assert dense(pa.chunked_array([pa.array([None, [1, 2]], pa.list_(pa.int8()))]), 2).tolist() == [[0, 0], [1, 2]]
