"""Rewards against truths worked out by hand, replies that cannot be read, and which token is credited with what."""

import subprocess
import sys
from pathlib import Path

import pytest

from schemas.query_rewriter_examples import NUM_REWRITES
from training.rewrite_rewards import NOTHING, Judge, Worth, advantages, credit, pieces_of, relevance_of, standardised

TERMS = [
    {"word": "seat", "weight": 300, "targets": ["chair", "stool"], "strengths": [8000, 5000]},
    {"word": "red", "weight": 100, "targets": [], "strengths": []},
]
QUERY = {"query_norm": "red seat", "terms": TERMS, "excluded": ["wheel"], "good_items": ["red0", "red1", "red2"]}
COLOURS = ("red", "blue", "green")
ITEMS = {f"{colour}{n}": [colour, "chair", f"model{colour}{n}"] for colour in COLOURS for n in range(3)}
WORTH = Worth(found=4, least_found=2, least_titles=3)


@pytest.fixture(scope="module")
def judge():
    return Judge(list(ITEMS.values()), list(ITEMS), WORTH)


@pytest.mark.parametrize(
    ("rewrite", "relevance"),
    [
        ("red chair", (3 * 0.8 + 1) / 4),
        ("red stool", (3 * 0.5 + 1) / 4),
        ("stool chair", 3 * 0.8 / 4),  # the strongest of them
        ("seat cover", 3 / 4),
        ("red", 1 / 4),
        ("lamp", 0),
        ("seat red", 0),  # the query itself
        ("red chair wheels", 0),  # what it excludes
    ],
)
def test_a_rewrite_is_relevant_by_what_its_words_stand_for(rewrite, relevance):
    assert relevance_of(rewrite.split(), QUERY) == pytest.approx(relevance)
    assert relevance_of(rewrite.split(), QUERY | {"terms": []}) == 0


def test_a_rewrite_is_aligned_by_the_good_items_that_it_finds_and_the_words_that_titles_use(judge):
    one = judge("1: red chair | green chair | modelred0 | chair sofa", QUERY)
    # of four places red chair fills three with the good ones; green chair one, since red0 is the first of all other chairs; a model's
    # name finds too few; chair sofa finds chairs in the order of the catalogue, and sofa is in no title
    assert one.alignment == pytest.approx([0.5 + 0.5, 0.5 / 3 + 0.5, 0, 0.5 + 0.25])
    assert [len(judge.found(words)) for words in (["red", "chair"], ["modelred0"], ["sofa"])] == [4, 1, 0]
    assert set(judge.item_ids[judge.found(["red", "chair"])]) >= {"red0", "red1", "red2"}


def test_worth_of_a_rewrite_is_gated_by_relevance(judge):
    said = judge("1: red chair | green", QUERY)
    assert said.relevance == pytest.approx([0.85, 0]) and said.alignment[1] > 0
    assert said.worth == pytest.approx([0.85 + 0.5 * said.alignment[0], 0])  # not a word of the query: alignment does not count


def test_diversity_counts_different_titles_of_relevant_rewrites(judge):
    alone, twins, apart = (judge(f"1: {text}", QUERY) for text in ("red chair |", "chair red x | red chair", "red chair | blue stool"))
    assert alone.form == 0 and alone.diversity == pytest.approx(4 / (4 * NUM_REWRITES))  # an empty rewrite is no form
    assert twins.diversity == alone.diversity
    assert apart.relevance[1] > WORTH.gate and apart.diversity == pytest.approx((4 + 2) / (4 * NUM_REWRITES))  # a red one or more is blue
    assert apart.form == pytest.approx(2 / NUM_REWRITES)
    assert apart.whole == pytest.approx(0.5 * apart.diversity + 0.5 * apart.form)


def test_a_rewrite_that_says_another_again_is_worth_nothing_and_spoils_the_form(judge):
    said = judge("1: red chair | chair red | blue chair", QUERY)
    assert said.form == 0 and said.relevance[1] == said.alignment[1] == said.worth[1] == 0 < said.worth[2]
    many = judge("1: " + " | ".join(f"red chair n{n}" for n in range(NUM_REWRITES + 1)), QUERY)
    assert many.form == 0 and many.worth[NUM_REWRITES] == 0 < many.worth[NUM_REWRITES - 1]


@pytest.mark.parametrize(
    "text", ["", "red chair", "I'm sorry, I can't help with that.", "1:", "1: | |", "2: red chair", "1: " + "x" * 300, "🙂"]
)
def test_a_reply_that_cannot_be_read_is_worth_nothing(judge, text):
    assert judge(text, QUERY) == NOTHING and judge(text, QUERY).whole == 0


def test_rewrites_stand_where_the_text_has_them():
    text = "Sure:\n1: red chair | 'desk' <sep> lamp"
    assert [(text[a:b], piece) for a, b, piece in pieces_of(text)] == [("red chair", "red chair"), ("'desk'", "desk"), ("lamp", "lamp")]


def test_a_rewrite_is_compared_with_all_of_its_group(judge):
    texts = ["1: red chair | lamp", "1: red stool | sofa", "nonsense", "1: red chair"]
    replies = [judge(text, QUERY) for text in texts]
    found = advantages([*replies, *replies], 4, 0.5)
    assert found[:4] == found[4:]  # groups are apart
    each = [a for own, whole in found[:4] for a in (x - whole for x in own)]
    assert sum(each) == pytest.approx(0, abs=1e-9)
    (good, bad), whole = found[0]
    assert good > 0 > bad and good == pytest.approx(found[3][0][0] - found[3][1] + whole)  # the neighbour does not hurt it
    assert found[2][0] == [] and found[2][1] < 0  # what cannot be read is worse than the rest
    assert standardised([1.0, 1.0, 1.0]) == [0, 0, 0] and standardised([]) == []


def test_tokens_get_the_advantage_of_the_rewrite_that_they_write():
    text = "1: red chair | lamp"
    ends = [len(t) for t in ("1:", "1: red", "1: red ch", "1: red chair", "1: red chair |", text, text)]
    spans = [(a, b) for a, b, _ in pieces_of(text)]
    assert credit(ends, spans, [2.0, -1.0], 0.25) == [0.25, 2.0, 2.0, 2.0, 0.25, -1.0, 0.25]  # number, rewrite, separator, rewrite, end
    assert credit([1, 2], [], [], -0.5) == [-0.5, -0.5]


def test_rewards_need_no_spark():
    code = "import sys, training.rewrite_rewards; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert {"features.generated", "bm25s"} <= loaded and not {"pyspark", "torch", "trl"} & loaded
