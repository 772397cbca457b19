"""Pairs of a small shop with planted truth: what people call otherwise than the catalogue, and reword within a session."""

import random
from collections import Counter
from datetime import date
from functools import cache

import pytest
from pyspark.sql import functions as F

from expectations.synthetic_pairs import SUITE
from features.pairs import Params
from features.splits import is_evaluation
from jobs.session import suited_to
from jobs.synthetic_pairs import PARAMS, arg_parser, build
from schemas.attributions import CONTRACT as ATTRIBUTIONS
from schemas.derive import spark_schema
from schemas.items import CONTRACT as ITEMS
from schemas.query_item_stats import CONTRACT as STATS
from schemas.query_rewrites import CONTRACT as REWRITES
from schemas.requests import CONTRACT as REQUESTS
from schemas.synthetic_pairs import CONTRACT
from tests.frames import DAY, frame

pytestmark = pytest.mark.slow  # four builds of the whole job
PRODUCTS = ("boots", "knife", "lamp", "kettle", "tent", "jacket", "teapot", "pillow")
CALLED = {"boots": "stompers", "knife": "slicer", "lamp": "illuminator", "kettle": "boiler", "tent": "shelter", "jacket": "windcheater"}
TINTS = {
    "red": "crimson", "blue": "azure", "green": "emerald", "black": "ebony", "white": "ivory", "grey": "ashen", "pink": "rosy",
    "brown": "umber", "yellow": "lemony", "purple": "mauve", "orange": "tangerine", "beige": "sandy",
}  # fmt: skip
COLOURS, BRANDS = tuple(TINTS), ("acme", "bolt", "crest")
MORE = ("", " aaa", " bbb", " ccc", " ddd", " eee", " fff")
WORDS = [(product, colour) for product in CALLED for colour in COLOURS]


def hard(product, colour):
    """A query of whose words no title has one."""
    return f"{CALLED[product]} {TINTS[colour]}"


def catalogue():
    """Each product in each colour of each brand; some off the shelf, some without a title."""
    rows = []
    for n, (product, colour, brand) in enumerate((p, c, b) for p in PRODUCTS for c in COLOURS for b in BRANDS):
        rows.append({"item_id": f"i{n:03d}", "title": f"{brand} {colour} {product}", "brand": brand, "category_path": ["home", product]})
    gone = [{"item_id": "gone", "title": "acme red boots boots", "status": "off_shelf"}, {"item_id": "none", "title": None}]
    return rows + gone + [{"item_id": "blank", "title": "👟"}]


def rewritten(query, rewrite, **more):
    row = {"query_norm": query, "rewrite": rewrite, "rewriter": "feedback", "rank": 1, "score": 0.9, "relevance": 0.9}
    return row | {"hardness": "knowledge"} | more


def search(key, user, query, at, item=None):
    """A search, and the click that it is credited with."""
    request = {"request_id": key, "user_id": user, "session_id": f"s{user}", "query_norm": query, "requested_at": at}
    click = {"request_id": key, "event_id": key, "item_id": item, "query_norm": query, "fate": "native", "event_at": at}
    return request, [click] if item else []


def split(spark, texts):
    """Each text, and whether it is kept for evaluation."""
    asked = spark.createDataFrame([(text,) for text in texts], "text string")
    return dict(map(tuple, asked.select("text", is_evaluation(F.col("text"))).collect()))


@cache
def log(spark):
    """Of each hard query three sessions: nobody clicks on it, then on an item of a plain query, of another brand each time.

    Plain queries are made longer where they would be kept for evaluation.
    """
    requests, credited, stats = [], [], Counter()
    by_title = {row["title"]: row["item_id"] for row in catalogue()}
    titles = [f"{brand} {colour} {product}" for brand in BRANDS for product, colour in WORDS]
    is_out = split(spark, [f"{title}{more}" for title in titles for more in MORE])
    for number, title in enumerate(titles):
        plain = next(f"{title}{more}" for more in MORE if not is_out[f"{title}{more}"])
        for step, (query, item) in enumerate([(hard(*WORDS[number % len(WORDS)]), None), (plain, by_title[title])]):
            request, clicks = search(f"r{number}.{step}", f"u{number}", query, f"2026-01-0{1 + number % 5}T10:0{step}:00", item)
            requests.append(request)
            credited += clicks
        stats[plain, by_title[title]] += 1
    return requests, credited, [{"query_norm": q, "item_id": i, "num_clicks_28d": n} for (q, i), n in sorted(stats.items())]


def true_items(query):
    product, colour = next((p, c) for p, c in WORDS if hard(p, c) == query)
    return {row["item_id"] for row in catalogue() if (row["title"] or "").endswith(f"{colour} {product}")}


def held_out(spark, rows):
    return {text for text, is_out in split(spark, {text for row in rows for text in (row["query_norm"], row["rewrite"])}).items() if is_out}


def learnable(spark, text):
    """The text, or a longer one that is not kept for evaluation."""
    return next(text for text, is_out in split(spark, [f"{text}{more}" for more in MORE]).items() if not is_out)


@pytest.fixture(scope="module")
def special(spark):
    """A query that excludes something, one that finds much alone, one whose rewrite finds nothing; and their rewrites."""
    texts = ("slicer without red", "knife", "acme windcheater", "jacket acme", "stompers qqq", "xxyyzz")
    return [learnable(spark, text) for text in texts]


@pytest.fixture(scope="module")
def rows(special):
    """Rewrites: of each hard query the right one, and of every third a wrong one; those of the special queries."""
    found, evidence = [], {"from_day": "2026-01-01", "to_day": "2026-01-04", "num_sessions": 3}
    for number, (product, colour) in enumerate(WORDS):
        query = hard(product, colour)
        found.append(rewritten(query, f"{colour} {product}", rewriter="sessions", evidence=evidence))
        if number % 3 == 0:
            found.append(rewritten(query, f"{colour} {PRODUCTS[(PRODUCTS.index(product) + 1) % 8]}"))
    less, knife, known, jacket, lost, nothing = special
    return [*found, rewritten(less, knife, hardness="negation"), rewritten(known, jacket), rewritten(lost, nothing)]


def inputs_of(spark, rewrites, seed=0, partitions=1):
    requests, credited, stats = log(spark)
    tables = {
        "query_rewrites": (REWRITES, rewrites), "items": (ITEMS, catalogue()), "query_item_stats": (STATS, stats),
        "requests": (REQUESTS, requests), "attributions": (ATTRIBUTIONS, credited),
    }  # fmt: skip
    found = {}
    for name, (contract, own) in tables.items():
        own = list(own)
        random.Random(seed).shuffle(own)
        found[name] = frame(spark, contract, own).repartition(partitions)
    return found


@pytest.fixture(scope="module")
def built(spark, rows):
    with suited_to(spark, 0):
        return build(inputs_of(spark, rows), DAY).collect()


@pytest.fixture(scope="module")
def kept(built):
    return [row for row in built if row._fate == "kept"]


def test_pairs_recover_the_planted_truth(spark, rows, kept):
    """Chance: of 288 items 3 are true for a query."""
    out = held_out(spark, rows)
    left = {row["query_norm"] for row in rows if row["rewriter"] == "sessions" and not {row["query_norm"], row["rewrite"]} & out}
    good = [row.item_id in true_items(row.query_norm) for row in kept if row.query_norm in left]
    assert len(good) > 40 and sum(good) / len(good) >= 0.9
    assert len({row.query_norm for row in kept} & left) >= 0.8 * len(left)


def test_every_pair_says_where_it_comes_from(rows, kept):
    known = {(row["query_norm"], row["rewrite"]): row for row in rows}
    for row in kept:
        source = known[row.query_norm, row.rewrite]
        assert (row.rewriter, row.hardness) == (source["rewriter"], source["hardness"])
        assert (row.evidence is None) == ("evidence" not in source)
        assert row.day == DAY and 1 <= row.rank <= PARAMS.num_hits and row.channel in ("bm25", "dense", "both")
        assert row.guards[0] == ("difference_set" if row.is_new else "drawn_of_known")
    assert {row.evidence.num_sessions for row in kept if row.evidence} == {3}


def test_nothing_is_made_of_evaluation_queries(spark, rows, built):
    texts = held_out(spark, rows)
    assert len(texts) >= 5
    assert not {row.query_norm for row in built} & texts and not {row.rewrite for row in built} & texts


def test_sessions_that_end_in_an_evaluation_query_teach_nothing(spark):
    """Two hard words, each followed by a plain query four times; of one that query is kept for evaluation."""
    colours = [f"{colour} boots" for colour in COLOURS]
    taught, hidden = (next(text for text, is_out in split(spark, colours).items() if is_out is wanted) for wanted in (False, True))
    known, unknown, other = (learnable(spark, text) for text in ("stompers", "clompers", "steel knife"))
    titles = [*colours, "steel knife"]
    searches = [search(f"o{n}", f"o{n}", other, "2026-01-05T10:00:00", f"i{len(colours)}") for n in range(40)]
    for query, followed in ((known, taught), (unknown, hidden)):
        searches += [search(f"{query}{n}", f"{query}{n}", query, "2026-01-05T10:00:00") for n in range(4)]
        item = f"i{titles.index(followed)}"
        searches += [search(f"{query}{n}.2", f"{query}{n}", followed, "2026-01-05T10:01:00", item) for n in range(4)]
    inputs = {
        "query_rewrites": frame(spark, REWRITES, [rewritten(known, taught), rewritten(unknown, taught)]),
        "items": frame(spark, ITEMS, [{"item_id": f"i{n}", "title": title} for n, title in enumerate(titles)]),
        "query_item_stats": frame(spark, STATS, [{"query_norm": taught, "item_id": f"i{titles.index(taught)}", "num_clicks_28d": 4}]),
        "requests": frame(spark, REQUESTS, [request for request, _ in searches]),
        "attributions": frame(spark, ATTRIBUTIONS, [click for _, clicks in searches for click in clicks]),
    }
    with suited_to(spark, 0):
        rows = build(inputs, DAY).collect()
    best = {query: max(row.p_business for row in rows if row.query_norm == query) for query in (known, unknown)}
    assert best[known] > 0.5 and best[unknown] == 0.0


def test_each_rewrite_is_in_the_books_once_and_each_pair_has_one_fate(spark, rows, built):
    counts = Counter()
    for row in built:
        counts.update({fate: n for fate, n in row._rewrites.asDict().items() if n})
    texts = held_out(spark, rows)
    out = sum(row["query_norm"] in texts or row["rewrite"] in texts for row in rows)
    assert counts == {"evaluation": out, "retrieved": len(rows) - out - 1, "nothing_found": 1}
    assert max(Counter((row.query_norm, row.item_id) for row in built if row.item_id).values()) == 1
    fates = Counter(row._fate for row in built)
    assert {"kept", "known_to_query", "not_relevant_business", "nothing_found", "evaluation"} <= set(fates)
    assert not {row.item_id for row in built} & {"gone", "none"}


def test_what_a_query_excludes_is_dropped_by_name(special, built):
    red = {row["item_id"] for row in catalogue() if "red" in (row["title"] or "").split()}
    fates = {row.item_id: row._fate for row in built if row.query_norm == special[0] and row.item_id}
    assert {fate for item, fate in fates.items() if item in red} == {"negated"}
    assert "negated" not in {fate for item, fate in fates.items() if item not in red}


def test_order_partitions_and_blocks_change_no_row(spark, rows, built):
    with suited_to(spark, 0):
        again = build(inputs_of(spark, rows, seed=3, partitions=3), DAY, params=Params(blocks=3)).collect()
    key = lambda row: (row.query_norm or "", row.item_id or "", row._fate)  # noqa: E731
    assert sorted(again, key=key) == sorted(built, key=key)


def test_columns_are_the_contract_and_no_row_breaks_a_rule(spark, rows, kept):
    planned = build(inputs_of(spark, rows[:1]), DAY)
    contract = spark_schema(CONTRACT)
    assert [f.name for f in planned.schema][: len(contract)] == contract.names
    conditions = " and ".join(f"({rule.condition})" for rule in SUITE.row_rules)
    plain = [tuple(row)[: len(contract)] for row in kept]
    assert spark.createDataFrame(plain, contract).where(conditions).count() == len(kept) > 40


def test_without_rewrites_there_are_no_pairs(spark):
    with suited_to(spark, 0):
        assert build(inputs_of(spark, []), DAY).collect() == []


def test_the_model_is_an_option_of_the_job():
    parsed = arg_parser().parse_args(["--day", "2026-01-05", "--lake", "lake", "--model", "models/mini"])
    assert (parsed.model, parsed.day) == ("models/mini", date(2026, 1, 5))
