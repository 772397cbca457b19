"""The two scorers: terms by hand, and kernels against plain Python on generated titles."""

import math
import random

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import functions as F

from features.relevance import (
    business_relevance,
    excluded_by_title,
    general_relevance,
    judge,
    query_terms,
    says_any,
    title_words,
)
from features.retrieval import Block

TITLES = {"i0": "waterproof hiking boots", "i1": "apparel", "i2": "sugar tea", "i3": "sugar-free tea", "i4": "herbal teas", "i5": None}
TERM = pa.struct([("word", pa.string()), ("weight", pa.int32()), ("targets", pa.list_(pa.string())), ("strengths", pa.list_(pa.int32()))])


def block_of(titles, negated=None, vectors=None):
    """A block of titles, built without Spark."""
    ids = {word: n for n, word in enumerate(sorted({word for title in titles for word in title}))}
    starts = np.cumsum([0, *map(len, titles)])
    flat = np.array([ids[word] for title in titles for word in title])
    rows = vectors if vectors is not None else np.zeros((len(titles), 2), dtype=np.float32)
    names = pa.array([f"i{n}" for n in range(len(titles))])
    return Block(names, rows, ids, flat, starts, np.zeros(len(flat), dtype=np.int32), negated or [None] * len(titles))


def term(word, weight, **strengths):
    return {"word": word, "weight": weight, "targets": list(strengths), "strengths": list(strengths.values())}


def test_terms_have_the_words_weights_and_the_titles_words_that_stand_for_them(spark):
    queries = [("keep feet dry",), ("boots for mud",), ("tea without sugar",), ("azure",), ("dank",), ("herbal",)]
    queries = spark.createDataFrame(queries, "query_norm string")
    asked = spark.createDataFrame([("dry boots",), ("boots",), ("red boots",)], "query_norm string")
    learnt = spark.createDataFrame(
        [("feet", "boots", 9000), ("feet", "hiking", 300), ("feet", "apparel", 9000), ("dry", "waterproof", 8000),
         ("azure", "tea", 6000), ("azure", "sugar", 3000), ("dank", "tea", 2000), ("herbal", "tea", 4000)],
        "word string, target string, strength int",
    )  # fmt: skip
    titles = title_words(spark.createDataFrame(list(TITLES.items()), "item_id string, title string"))
    rows = query_terms(queries, asked, learnt, titles, most=2, unknown_weight=0.5).collect()
    found = {r.query_norm: {t.word: (t.weight, list(zip(t.targets, t.strengths, strict=True))) for t in r.terms} for r in rows}
    rare, once, thrice = (math.log(4 / (1 + n)) + 1 for n in (0, 1, 3))
    assert found["keep feet dry"] == {
        "keep": (round(100 * rare * 0.5), []),  # neither log nor catalogue knows it
        "feet": (round(100 * rare), [("apparel", 10_000), ("boots", 10_000)]),  # the two strongest, ties by word
        "dry": (round(100 * once), [("waterproof", 10_000)]),
    }
    assert found["azure"]["azure"][1] == [("tea", 10_000), ("sugar", 5000)], "no title has it: what it means most says all of it"
    assert found["dank"]["dank"][1] == [("tea", 4000)], "too little is known to say all of it"
    assert found["herbal"]["herbal"][1] == [("tea", 4000)], "a title can say it itself"
    assert found["boots for mud"] == {"boots": (round(100 * thrice), []), "mud": (round(100 * rare * 0.5), [])}
    assert found["tea without sugar"] == {"tea": (round(100 * rare), [])}
    assert {r.query_norm: r.negated for r in rows}["tea without sugar"] == ["sugar"]


def test_a_title_that_excludes_a_word_says_so(spark):
    titles = spark.createDataFrame(list(TITLES.items()), "item_id string, title string")
    found = titles.select("item_id", excluded_by_title(F.col("title")).alias("excluded")).collect()
    assert {r.item_id: r.excluded for r in found if r.excluded} == {"i3": ["sugar"]}


def test_business_relevance_by_hand():
    block = block_of([["waterproof", "boots"], ["leather", "boots"], ["tea"]])
    terms = [term("dry", 200, waterproof=8000, boots=1000), term("boots", 100), term("keep", 100)]
    strength = np.zeros(len(block.word_ids), dtype=np.int64)
    found = business_relevance(terms, block, np.array([0, 1, 2]), strength)
    # boots is what boots means: it says nothing of dry
    assert found.tolist() == [(200 * 8000 + 100 * 10_000) // 400, 100 * 10_000 // 400, 0]
    assert not strength.any()
    assert business_relevance([], block, np.array([0, 1]), strength).tolist() == [0, 0]


def test_business_relevance_of_generated_titles_is_that_of_plain_python():
    rng = random.Random(4)
    titles = [rng.sample("abcdefghij", rng.randint(1, 6)) for _ in range(200)]
    block = block_of(titles)
    strength = np.zeros(len(block.word_ids), dtype=np.int64)
    for _ in range(40):
        strengths = [{t: rng.randint(1, 9999) for t in rng.sample("abcdefghijkl", 4)} for _ in range(3)]
        terms = [term(word, rng.randint(50, 900), **own) for word, own in zip(rng.sample("abcxyz", 3), strengths, strict=True)]
        places = np.array(sorted(rng.sample(range(200), 30)))
        expected = []
        for place in places:
            worth = [dict(zip(t["targets"], t["strengths"], strict=True)) | {t["word"]: 10_000} for t in terms]
            best = {word: max(own.get(word, 0) for own in worth) for word in titles[place]}
            spoken = [[own.get(w, 0) for w in titles[place] if own.get(w, 0) * 10 >= best[w] * 8] for own in worth]
            gained = sum(t["weight"] * max(values, default=0) for t, values in zip(terms, spoken, strict=True))
            total = sum(t["weight"] for t in terms)
            expected.append(math.floor(gained / total + 0.5))
        assert business_relevance(terms, block, places, strength).tolist() == expected


def test_what_a_query_excludes_is_found_in_singular_and_plural_but_not_where_the_title_excludes_it():
    block = block_of([["tea", "sugar"], ["tea", "sugars"], ["tea", "sugar", "free"], ["tea"]], negated=[None, None, ["sugar"], None])
    strength = np.zeros(len(block.word_ids), dtype=np.int64)
    assert says_any(["sugar"], block, np.arange(4), strength).tolist() == [1, 1, 0, 0]
    assert says_any(["sugars"], block, np.arange(4), strength).tolist() == [1, 1, 0, 0]
    assert says_any(["salt"], block, np.arange(4), strength).tolist() == [0, 0, 0, 0]


def test_general_relevance_is_the_cosine():
    rng = np.random.default_rng(2)
    asked, known = (rng.integers(-127, 128, (n, 8)).astype(np.float32) for n in (20, 30))
    known[3] = 0
    rows, places = np.repeat(np.arange(20), 30), np.tile(np.arange(30), 20)
    found = general_relevance(asked, known, rows, places)
    norms = [np.linalg.norm(side.astype(float), axis=1) for side in (asked, known)]
    expected = asked.astype(float)[rows] * known[places]
    cosine = expected.sum(axis=1) / np.maximum(norms[0][rows] * norms[1][places], 1e-9)
    assert found / 10_000 == pytest.approx(np.clip(cosine, 0, 1), abs=1e-4)
    assert 100 < (found == 0).sum() < 500


def test_a_pair_is_judged_by_its_query_and_by_its_own_rewrite():
    """Two queries, the second with two rewrites: terms stand at the query, vectors at the rewrite."""
    vectors = np.array([[127, 0], [0, 127]], dtype=np.float32)
    block = block_of([["boots"], ["sugar"]], vectors=vectors)
    asks = pa.table({
        "kind": ["query", "rewrite", "query", "rewrite", "rewrite"], "id": ["a", "a", "b", "b", "b"], "rewrite": ["", "r", "", "r", "s"],
        "terms": pa.array([[term("boots", 100)], None, [term("sugar", 100)], None, None], pa.list_(TERM)),
        "negated": [[], None, ["sugar"], None, None],
    })  # fmt: skip
    joints = pa.table({"vector": pa.array([[127, 0], [0, 127], [76, 102]], pa.list_(pa.int8()))})
    found = judge(asks, joints, block, np.array([1, 1, 3, 3, 4, 4]), np.array([0, 1, 0, 1, 0, 1]))
    assert found["p_business"].tolist() == [10_000, 0, 0, 10_000, 0, 10_000]
    assert found["is_negated"].tolist() == [0, 0, 0, 1, 0, 1]
    length = math.sqrt(76**2 + 102**2)
    assert found["p_general"].tolist() == [10_000, 0, 0, 10_000, round(10_000 * 76 / length), round(10_000 * 102 / length)]
