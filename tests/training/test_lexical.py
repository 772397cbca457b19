import math

import pytest

from training.lexical import K1, OWN, B, Lexical

TITLES = [["red", "shoe"], ["blue", "shoe", "lace"], ["kitchen", "knife"], ["shoe", "sneaker"], ["sneaker", "blue"]]


def bm25(title, word):
    found, mean = sum(word in t for t in TITLES), sum(map(len, TITLES)) / len(TITLES)
    rarity = math.log(1 + (len(TITLES) - found + 0.5) / (found + 0.5))
    tf = title.count(word)
    return rarity * tf / (tf + K1 * (1 - B + B * len(title) / mean))


def test_scores_are_those_of_the_formula():
    scores = Lexical(TITLES).scores({"shoe": 1.0, "lace": 2.0, "unknown": 5.0})
    assert scores.tolist() == pytest.approx([bm25(t, "shoe") + 2 * bm25(t, "lace") for t in TITLES], rel=1e-5)


def test_an_expansion_finds_titles_without_a_word_of_the_query():
    lexical = Lexical(TITLES)
    weights = lexical.expanded(["shoe"])
    assert sum(weights.values()) == pytest.approx(1) and weights["shoe"] > OWN
    assert lexical.scores({"shoe": 1.0})[4] == 0 < lexical.scores(weights)[4]  # by sneaker and blue, of titles with shoe
    assert weights["sneaker"] > weights["lace"]  # of a shorter title, with a better score


def test_a_query_that_finds_nothing_stays_as_it_is():
    assert Lexical(TITLES).expanded(["no", "such", "no"]) == {"no": pytest.approx(2 / 3), "such": pytest.approx(1 / 3)}
