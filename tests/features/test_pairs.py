"""Candidates by hand; the rules and caps against plain Python on generated candidates."""

import random
from collections import Counter
from dataclasses import replace

import pytest
from pyspark.sql import functions as F

from features.pairs import KEYS, SCORES, Params, candidates, guards, texts_of, with_fate
from jobs.session import suited_to

HIT = "struct<far: int, item_id: string, p_business: int, p_general: int, is_negated: int>"
HITS = f"id string, rewrite string, bm25 array<{HIT}>, dense array<{HIT}>"
PAIRS = (
    "query_norm string, item_id string, rank int, rewrite string, p_business int, p_general int, is_negated int, channel string, "
    "is_known boolean, is_logged boolean, num_retrieved bigint, num_nothing bigint"
)
PARAMS = Params(min_business=0.5, per_query=6, per_item=3, category_share=0.3)


@pytest.fixture(autouse=True)
def interpreted(spark):
    """Small plans run faster than they compile."""
    with suited_to(spark, 0):
        yield


def hit(item, p_general=5000, p_business=6000, is_negated=0):
    return (-1, item, p_business, p_general, is_negated)


def test_titles_queries_rewrites_and_both_together_are_encoded(spark):
    rewrites = spark.createDataFrame([("q", "r"), ("q", "s"), ("p", "r")], "query_norm string, rewrite string")
    items = spark.createDataFrame([("i", "Red shoe"), ("j", None), ("k", " ")], "item_id string, title string")
    found = sorted(map(tuple, texts_of(rewrites, items).select(*KEYS, "text").collect()))
    queries = [("query", "p", "", "p"), ("query", "q", "", "q")]
    joints = [("joint", "p", "r", "p r"), ("joint", "q", "r", "q r"), ("joint", "q", "s", "q s")]
    reworded = [("rewrite", "p", "r", "r"), ("rewrite", "q", "r", "r"), ("rewrite", "q", "s", "s")]
    assert found == [("item", "i", "", "Red shoe"), *joints, *queries, *reworded]


def test_an_item_is_a_candidate_once_as_it_was_found_best(spark):
    rows = [
        ("q", "", [hit("known")], [hit("known2")]),
        ("q", "r", [hit("a", 1), hit("b", 1)], [hit("c", 1), hit("known", 1), hit("b", 1)]),
        ("q", "s", [hit("b", 2), hit("known2", 2)], []),
        ("q", "t", [], []),
        ("p", "", [], []),
        ("p", "u", [], [hit("a", 3)]),
    ]
    logged = spark.createDataFrame([("q", "c"), ("p", "z"), ("o", "a")], "query_norm string, item_id string")
    found = {(r.query_norm, r.item_id): r for r in candidates(spark.createDataFrame(rows, HITS), logged).collect()}
    told = {key: (r.rewrite, r.rank, r.channel, r.p_general, r.is_known, r.is_logged) for key, r in found.items() if key[1]}
    assert told == {
        ("q", "a"): ("r", 1, "bm25", 1, False, False),
        ("q", "b"): ("s", 1, "both", 2, False, False),  # rank 1 of s before ranks 2 and 3 of r
        ("q", "c"): ("r", 1, "dense", 1, False, True),
        ("q", "known"): ("r", 2, "dense", 1, True, False),
        ("q", "known2"): ("s", 2, "bm25", 2, True, False),
        ("p", "a"): ("u", 1, "dense", 3, False, False),
    }
    assert {key: (r.num_retrieved, r.num_nothing) for key, r in found.items() if r.num_retrieved or r.num_nothing} == {
        ("q", "a"): (1, 0), ("q", "b"): (1, 0), ("q", None): (0, 1), ("p", "a"): (1, 0),
    }  # fmt: skip


def generated(rng, number):
    keys = sorted({(f"q{rng.randrange(12)}", f"i{rng.randrange(20)}") for _ in range(number)})
    scores = [(rng.randint(3, 10) * 1000, rng.randint(2, 6) * 1000, int(rng.random() < 0.1)) for _ in keys]
    seen = [("bm25", rng.random() < 0.2, rng.random() < 0.1, 0, 0) for _ in keys]
    return [(*key, rng.randint(1, 9), "r", *own, *flags) for key, own, flags in zip(keys, scores, seen, strict=True)]


def fates_by_hand(rows, leaves, params, drawn):
    """Rules, then each cap over what is left, the best first."""
    fates = {}
    for q, i, _, _, business, general, negated, _, known, logged, _, _ in rows:
        rules = (
            (negated, "negated"), (known and not drawn[q, i], "known_to_query"), (logged, "in_log"),
            (business < 5000, "not_relevant_business"), (general < 3000, "not_relevant_general"),
        )  # fmt: skip
        fates[q, i] = next((name for broken, name in rules if broken), None)
    best = sorted(rows, key=lambda row: (-row[4] - row[5], row[2], row[0], row[1]))

    def cap(name, key, most):
        seen = Counter()
        for row in best:
            if fates[row[:2]] is None and key(row) is not None:
                seen[key(row)] += 1
                if seen[key(row)] > most:
                    fates[row[:2]] = name

    cap("capped_query", lambda row: row[0], params.per_query)
    cap("capped_item", lambda row: row[1], params.per_item)
    cap("capped_category", lambda row: leaves[row[1]], int(params.category_share * list(fates.values()).count(None)))
    return {key: fate or "kept" for key, fate in fates.items()}


def test_rules_and_caps_are_those_of_plain_python_whatever_the_order_and_partitions(spark):
    rng = random.Random(8)
    rows, leaves = generated(rng, 330), {f"i{n}": ("big" if n % 3 else None) if n % 2 else f"leaf{n % 8}" for n in range(20)}
    drawn_key = F.pmod(F.xxhash64(F.lit(PARAMS.seed), F.lit("known"), "query_norm", "item_id"), F.lit(10_000)) < 2000
    frame = spark.createDataFrame(rows, PAIRS)
    drawn = {(r.query_norm, r.item_id): r.d for r in frame.select("query_norm", "item_id", drawn_key.alias("d")).collect()}
    expected = fates_by_hand(rows, leaves, PARAMS, drawn)
    wanted = {"kept", "known_to_query", "in_log", "negated", "not_relevant_business", "not_relevant_general", "capped_query"}
    assert set(expected.values()) == wanted | {"capped_item", "capped_category"}
    by_item = spark.createDataFrame(list(leaves.items()), "item_id string, leaf string")
    for partitions in (1, 4):
        rng.shuffle(rows)
        fated = with_fate(spark.createDataFrame(rows, PAIRS).repartition(partitions), by_item, PARAMS).collect()
        assert {(r.query_norm, r.item_id): r._fate for r in fated} == expected and len(fated) == len(rows)


def test_of_what_a_query_finds_alone_a_share_is_kept(spark):
    rows = [(f"q{n}", f"i{n}", 1, "r", 9000, 9000, 0, "bm25", True, False, 0, 0) for n in range(2000)]
    leaves = spark.createDataFrame([], "item_id string, leaf string")
    counts = Counter(r._fate for r in with_fate(spark.createDataFrame(rows, PAIRS), leaves, Params()).select("_fate").collect())
    assert abs(counts["kept"] - 400) < 4 * (2000 * 0.2 * 0.8) ** 0.5  # four standard deviations
    assert counts["kept"] + counts["known_to_query"] == 2000
    none = with_fate(spark.createDataFrame(rows[:50], PAIRS), leaves, replace(Params(), known_share=0.0))
    assert {r._fate for r in none.select("_fate").collect()} == {"known_to_query"}


def test_nothing_found_is_a_fate_and_no_cap_counts_it(spark):
    rows = [
        ("q", None, None, None, None, None, None, None, None, False, 0, 2),
        ("q", "i", 1, "r", 9000, 9000, 0, "bm25", False, False, 1, 0),
    ]
    leaves = spark.createDataFrame([("i", "leaf")], "item_id string, leaf string")
    found = {r.item_id: r._fate for r in with_fate(spark.createDataFrame(rows, PAIRS), leaves, Params(category_share=1.0)).collect()}
    assert found == {None: "nothing_found", "i": "kept"}


def test_guards_name_what_was_asked(spark):
    rows = spark.createDataFrame([("tea without sugar", False), ("tea", True)], "query_norm string, is_known boolean")
    found = dict(map(tuple, rows.select("query_norm", guards().alias("guards")).collect()))
    rest = ["not_in_log", "business", "general", "query_cap", "item_cap", "category_cap"]
    assert found == {"tea without sugar": ["difference_set", "negation", *rest], "tea": ["drawn_of_known", *rest]}


@pytest.mark.parametrize("scorer", SCORES)
def test_a_scorer_that_is_left_out_accepts_all(spark, scorer):
    other = next(name for name in SCORES if name != scorer)
    row = ("q", "i", 1, "r", 0, 0, 0, "bm25", False, False, 0, 0)
    leaves = spark.createDataFrame([], "item_id string, leaf string")
    (found,) = with_fate(spark.createDataFrame([row], PAIRS), leaves, Params(scorers=(scorer,))).collect()
    assert (found[scorer], found[other]) == (0, 10_000) and found._fate == f"not_relevant_{scorer.removeprefix('p_')}"


def test_defaults_are_those_of_the_suite():
    """The suite is plain data and repeats three of the parameters."""
    from expectations.synthetic_pairs import SUITE

    rules = {rule.name: rule.condition for rule in SUITE.row_rules}
    assert rules["rank_from_one"] == f"rank between 1 and {Params().num_hits}"
    assert rules["accepted_business"] == f"p_business between {Params().min_business} and 1"
    assert rules["accepted_general"] == f"p_general between {Params().min_general} and 1"
