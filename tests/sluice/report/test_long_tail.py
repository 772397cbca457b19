"""The page of rare queries: its numbers against receipts and rows, its precision against judgements and planted truth."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.inputs import Tables
from jobs.messages import UsageError
from schemas.contract import load
from sluice.report.contents import HIDDEN
from sluice.report.long_tail import check_truth, long_tail, view
from tests.sluice.report.planted import DAYS, HOSTILE, ITEMS, ROWS, put, receipt_on_disk
from tests.sluice.report.planted import long_tail as plant
from tests.sluice.report.test_pages import site_of

JUDGED = [{"query_norm": "q3", "item_id": "a", "relevance": 0.67}, {"query_norm": "q3", "item_id": "z", "relevance": 0.0}]


@pytest.fixture
def rare(lake):
    """A lake with one day of rare queries, whose items have titles."""
    put(lake, ITEMS, DAYS[0], [row | {"title": f"title of {row['item_id']}"} for row in ROWS["items"]])
    plant(lake, DAYS[0])
    return lake


def facts(lake, **options):
    return long_tail(Tables(str(lake)), DAYS, **options)


def test_counts_are_those_of_the_receipts_and_replies_are_no_rewrites(rare):
    found = facts(rare)
    assert {name: found[name]["in"] for name in ("queries", "pool", "rewrites", "searched", "candidates")} == {
        "queries": 5, "pool": 3, "rewrites": 8, "searched": 3, "candidates": 12,
    }  # fmt: skip
    assert found["queries"]["fates"] == {"in_pool": 3, "not_in_pool": 1, "unreadable": 0, "evaluation": 1, "quarantined": 0}
    assert found["rewrites"]["fates"] == {"kept": 3, "irrelevant": 3, "evaluation": 2, "quarantined": 0}
    assert found["candidates"]["fates"] == {"kept": 2, "known_to_query": 6, "negated": 4, "quarantined": 0}
    receipts = {name: receipt_on_disk(rare, name, DAYS[0]) for name in ("query_rewrites", "synthetic_pairs")}
    assert found["candidates"]["in"] == receipts["synthetic_pairs"]["rows"] + 4 + 6 and found["replies"]["replies"] == 7
    assert found["rewrites"]["fates"]["kept"] == receipts["query_rewrites"]["rows"]


def test_yield_by_decile_adds_up_to_the_receipts(rare):
    found = facts(rare)
    none = {"judged": 0, "precision": None}
    assert found["decile"] == [
        {"decile": 1, "queries": 2, "rewritten": 0, "with_pairs": 0, "pairs": 0} | none,
        {"decile": 2, "queries": 2, "rewritten": 1, "with_pairs": 1, "pairs": 2} | none,
        {"decile": 3, "queries": 1, "rewritten": 1, "with_pairs": 0, "pairs": 0} | none,
    ]
    assert [row["type"] for row in found["type"]] == ["question", "plain"] and found["type"][0]["pairs"] == 2
    for name in ("decile", "type"):
        sums = {key: sum(row[key] for row in found[name]) for key in ("queries", "rewritten", "pairs")}
        assert sums == {"queries": 5, "rewritten": found["pool"]["fates"]["rewritten"], "pairs": found["candidates"]["fates"]["kept"]}


def test_precision_is_told_of_judged_pairs_alone(rare, tmp_path):
    put(rare, load("judgements"), DAYS[0], JUDGED)
    found = facts(rare)
    assert found["all"] == {"with_pairs": 1, "pairs": 2, "judged": 1, "precision": 1.0} and found["judged_by"] == "judgements"
    assert [(row["rewriter"], row["judged"], row["precision"]) for row in found["rewriter"]] == [
        ("feedback", 0, None),
        ("sessions", 1, 1.0),
    ]
    put(rare, load("judgements"), DAYS[1], [JUDGED[0] | {"relevance": 0.65}])  # judged again: the mean counts
    assert facts(rare)["all"]["precision"] == 0.0
    (tmp_path / "truth" / "queries").mkdir(parents=True)
    with pytest.raises(UsageError, match=r"it has no queries/; give the folder that sluice ingest simulator --truth wrote"):
        check_truth(str(tmp_path))
    pq.write_table(pa.table({"query_norm": ["q3"], "item_id": ["b"]}), tmp_path / "truth" / "queries" / "0.parquet")
    by_truth = facts(rare, truth=check_truth(str(tmp_path / "truth")))  # what is not there is wrong
    assert (by_truth["all"]["judged"], by_truth["all"]["precision"], by_truth["judged_by"]) == (2, 0.5, "planted truth")
    assert {e["item_id"]: e["good"] for e in by_truth["examples"]} == {"a": False, "b": True}


def test_examples_have_their_provenance_and_hide_what_was_typed(rare):
    hidden = {e["item_id"]: e for e in facts(rare)["examples"]}
    assert set(hidden) == {"a", "b"} and {e[name] for e in hidden.values() for name in ("query_norm", "rewrite")} == {HIDDEN}
    shown = next(e for e in facts(rare, personal=True)["examples"] if e["item_id"] == "a")
    assert shown == hidden["a"] | {"query_norm": "q3", "rewrite": "r0"}
    assert (shown["title"], shown["evidence"]["num_sessions"], shown["guards"], shown["good"]) == (
        "title of a", 3, ["difference_set", "business"], None,
    )  # fmt: skip


def test_only_a_day_that_has_the_whole_way_is_told(whole, rare):
    assert facts(whole) is None
    put(rare, load("query_stats"), DAYS[1], [])
    assert facts(rare)["day"] == str(DAYS[0])
    plant(rare, DAYS[2])
    found = facts(rare)
    assert found["day"] == str(DAYS[2]) and [d["day"] for d in found["days"]] == [str(DAYS[0]), str(DAYS[2])]
    assert [name for name, *_ in view(found)["over"]] == ["queries in the pool", "queries with a rewrite", "rewrites kept", "pairs kept"]


def test_a_day_without_pairs_has_its_page(rare, tmp_path):
    for name in ("query_stats", "query_rewrites", "synthetic_pairs"):
        receipt = receipt_on_disk(rare, name, DAYS[0])
        figures = {key: receipt[key] for key in ("accounts", "excluded", "figures") if key in receipt}
        put(rare, load(name), DAYS[1], [], **figures)
    _, found = site_of(rare, tmp_path / "site")
    text = " ".join(found["long_tail.html"].texts)
    assert "No pair on this day." in text and "No pair is judged" in text


def test_the_page_shows_the_facts_and_hostile_text_stays_text(lake, tmp_path):
    put(lake, ITEMS, DAYS[0], [{**row, "title": HOSTILE} for row in ROWS["items"]])
    plant(lake, DAYS[0], query=HOSTILE)
    known, found = site_of(lake, tmp_path / "site", personal=True)
    page = found["long_tail.html"]
    text = " ".join(" ".join(page.texts).split())
    assert text.count(" ".join(HOSTILE.split())) == 4  # two queries, two titles
    assert "img" not in {tag for tag, _ in page.elements} and not any(k.startswith("on") for _, f in page.elements for k in f)
    assert all(words in text for words in ("7 replies: 700 tokens in, 70 out, 1.25 of the currency", "3 sessions", "known to the query"))
    drawn = [(f["data-account"], f["data-fate"], f["data-rows"]) for tag, f in page.elements if tag == "g" and "data-fate" in f]
    fates = [
        (a, fate, n)
        for a in ("queries", "pool", "rewrites", "searched", "candidates")
        for fate, n in known["long_tail"][a]["fates"].items()
    ]
    assert sorted(drawn) == sorted((a, fate, str(n)) for a, fate, n in fates if n)
    assert "long_tail.html" in found["index.html"].links
    for name in ("index", str(DAYS[0])):  # of the table's own pages
        words = " ".join(found[f"synthetic_pairs/{name}.html"].texts).split("Rows that the build left out")[1].split()
        assert [words[words.index(fate) + 1] for fate in ("known_to_query", "negated", "nothing_found")] == ["6", "4", "1"]
