"""Hard queries of the simulated shop: true products are what the text says, searches find little, users reformulate at the planted rate."""

import hashlib
import json
import re
from collections import defaultdict
from datetime import date

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from pyspark.sql import functions as F

from features.hardness import hardness, negated_words
from jobs.sources import SourceError
from jobs.sources._shop import Plan
from jobs.sources._shop.behaviour import simulate
from jobs.sources._shop.hard import _SYNONYMS, _USES, HARDNESS, make_hard_queries
from jobs.sources._shop.tables import chunk_tables, item_table, query_truth
from jobs.sources.simulator import read

FIRST = date(2026, 1, 1)
PLAN = Plan(first=FIRST, num_days=5, users=300, hard_share=0.3)
SAME = "9c342104932a465b"


def words(text):
    return text.lower().split()


def log(plan):
    chunks = [chunk_tables(plan, n, simulate(plan, n)) for n in range(plan.num_chunks)]
    return {name: pa.concat_tables(chunk[name] for chunk in chunks) for name in chunks[0]}


@pytest.fixture(scope="module")
def shop():
    """The log of PLAN with its truth in DuckDB: 4,500 searches, 30 % of them hard."""
    db = duckdb.connect()
    db.execute("set timezone = 'UTC'")
    for name, rows in {**log(PLAN), "items": item_table(PLAN, 0), "truth": query_truth(PLAN)}.items():
        db.register(f"{name}_rows", rows)
        db.execute(f"create table {name} as select * from {name}_rows")
    db.execute("""
        create table search as select r.*, h.hardness from requests r
            left join (select distinct query_norm, hardness from truth) h using (query_norm) where domain = 'search';
        create table listed as select s.*, t.item_id is not null as is_true
            from (select request_id, query_norm, hardness, unnest(candidates, recursive := true) from search) s
            left join truth t on t.query_norm = s.query_norm and t.item_id = s.item_id;
        create table click as select distinct request_id, item_id from events
            where event_type = 'click' and _fate = 'kept' and domain = 'search';
    """)
    return db


def test_without_hard_queries_the_shop_is_what_it_was_before_there_were_any():
    """SAME was recorded with the code before hard queries; only what no processor rounds otherwise goes into it."""
    digest = hashlib.sha256()
    for plan in (Plan(first=FIRST, num_days=2, users=20, items=600), Plan(first=FIRST, num_days=2, users=20, seed=8)):
        rows = log(plan)
        requests = rows["requests"].to_pylist()
        events = rows["events"].drop_columns(["event_at", "available_at", "dwell_s", "amount_cents"]).to_pylist()
        items = item_table(plan, 1).select(["item_id", "title", "category_path", "shop_id", "status"]).to_pylist()
        lists = [[(c["item_id"], c["stage"], c["position"]) for c in r["candidates"]] for r in requests]
        names = [(r["request_id"], r["session_id"], r["query_raw"], r["requested_at"].replace(microsecond=0)) for r in requests]
        assert len(requests) > 200 and len(events) > 300
        for told in (lists, names, events, rows["truth_events"].to_pylist(), items):
            digest.update(json.dumps(told, default=str).encode())
    assert digest.hexdigest()[:16] == SAME


def reading(text):
    """(words that a true title holds, words that it does not), as a person reads the query."""
    meant = {synonym: word for word, synonym in _SYNONYMS.items()} | {use: noun for noun, (_, use) in _USES.items()}
    if found := re.fullmatch(r"(?:what do i need to|which one helps to|how can i) (.+?)(?: in ((?!fog|rain|winter|dinner).+))?", text):
        return {meant[found[1]], *(meant[word] for word in words(found[2] or ""))}, set()
    for form in (r"(?:alternative to|instead of|non) (?P<no>\w+) (?P<yes>.+)", r"(?P<yes>.+) (?:like|without|not|except) (?P<no>\w+)"):
        if found := re.fullmatch(form, text):
            return set(words(found["yes"])), {found["no"]}
    return {meant.get(word, word) for word in words(text)}, set()


def test_true_products_are_what_the_text_says(shop):
    titles = {item: set(words(title)) for item, title in shop.execute("select item_id, title from items").fetchall()}
    true = defaultdict(set)
    for text, kind, item in shop.execute("select query_norm, hardness, item_id from truth").fetchall():
        true[kind, text].add(item)
    counts = {kind: sum(k == kind for k, _ in true) for kind in HARDNESS}
    assert all(counts[kind] > 150 for kind in HARDNESS), counts
    rng = np.random.default_rng(0)
    every = [key for key in true if key[0] != "plain" or rng.random() < 0.1]
    for kind, text in every:
        wanted, unwanted = reading(text)
        assert bool(unwanted) == (kind in ("alternative", "negation")), text
        assert true[kind, text] == {i for i, title in titles.items() if wanted <= title and not unwanted & title}, text
    assert shop.execute("select count(*) - count(distinct (query_norm, item_id)) from truth").fetchone() == (0,)


def test_no_title_holds_a_word_of_a_question_or_of_a_synonym(shop):
    titles = {word for (title,) in shop.execute("select title from items").fetchall() for word in words(title)}
    asked = {
        w for t, k in shop.execute("select distinct query_norm, hardness from truth").fetchall() if k in HARDNESS[::3] for w in words(t)
    }
    assert len(asked) > 60 and not asked & titles
    lexicon = {word for word in _SYNONYMS.values()} | {word for _, use in _USES.values() for word in words(use)}
    assert not lexicon & ({*_SYNONYMS} | titles)
    assert len(set(_SYNONYMS.values())) == len(_SYNONYMS) and len({use for _, use in _USES.values()}) == len(_USES)


def test_hard_queries_are_rare_and_searched_at_their_share(shop):
    asked = dict(shop.execute("select hardness, count(*) from search group by 1").fetchall())
    hard = sum(asked.values()) - asked["plain"]
    again = reformulations(shop)
    n = sum(asked.values()) - again
    assert hard / n == pytest.approx(PLAN.hard_share, abs=4 * np.sqrt(0.3 * 0.7 / n))
    assert all(asked[kind] / hard == pytest.approx(0.25, abs=0.05) for kind in HARDNESS[:4])
    counts = shop.execute(
        "select hardness = 'plain', max(n), median(n) from (select query_norm, hardness, count(*) as n from search group by all) group by 1"
    )
    (_, most_hard, middle), (_, most_plain, _) = sorted(counts.fetchall())
    assert middle <= 2 and most_hard < most_plain


def test_searching_them_yields_few_or_poor_results(shop):
    """Plain pages: half carries all words. Questions and synonyms find under 10, none true; the others what they exclude."""
    found = shop.execute("""
        select hardness, max(len(candidates)), avg(true_share), count(clicked) / count(*) from search
        left join (select request_id, avg(is_true::int) as true_share from listed where is_exposed group by 1) using (request_id)
        left join (select distinct request_id, true as clicked from click) using (request_id) group by 1""").fetchall()
    found = {kind: (most, true, clicks) for kind, most, true, clicks in found}
    assert found["plain"][1] > 0.45 and found["plain"][2] > 0.35
    for kind in ("question", "knowledge"):
        assert found[kind][0] < 10 and found[kind][1] == 0
    for kind in ("alternative", "negation"):
        assert found[kind][1] < 0.2
    assert all(found[kind][2] < 0.3 * found["plain"][2] for kind in HARDNESS[:4])


PAIRS = """
    from search h join wording w using (query_norm) join search p on p.user_id = h.user_id and p.session_id = h.session_id
    and p.query_norm = w.plain and p.requested_at - h.requested_at between interval 15 seconds and interval 5 minutes
    where h.hardness <> 'plain'"""


def reformulations(shop):
    """How many hard searches are followed by their plain query; `wording` says which it is."""
    hard = make_hard_queries(PLAN)
    plain = {text: " ".join(w for w in sorted(reading(text)[0])) for text in hard.texts}
    by_words = {" ".join(sorted(words(text))): text for (text,) in shop.execute("select distinct query_norm from search").fetchall()}
    pairs = [(text, by_words[key]) for text, key in plain.items() if key in by_words]
    shop.register("wording_rows", pa.table({"query_norm": [p[0] for p in pairs], "plain": [p[1] for p in pairs]}))
    shop.execute("create or replace table wording as select distinct * from wording_rows")
    return shop.execute(f"select count(distinct h.request_id) {PAIRS}").fetchone()[0]


def test_people_reformulate_at_the_planted_rate_and_click_a_true_product(shop):
    """Chance level: hard searches with their plain query in the five minutes before, as often as it is asked after them by chance."""
    again = reformulations(shop)
    (chance,) = shop.execute(
        f"select count(distinct h.request_id) {PAIRS}".replace("p.requested_at - h.", "h.requested_at - p.")
    ).fetchone()
    bots = "select distinct user_id from events join truth_events using (event_id) where is_bot"
    (n,) = shop.execute(f"select count(*) from search where hardness <> 'plain' and user_id not in ({bots})").fetchone()
    planted = PLAN.reformulate_share
    assert n > 1000 and chance < 0.05 * n
    assert (again - chance) / (n - chance) == pytest.approx(planted, abs=3 * np.sqrt(planted * (1 - planted) / n))
    clicked, true = shop.execute(f"""
        select count(distinct h.request_id), count(distinct h.request_id) filter (t.item_id is not null) {
        PAIRS.replace(
            "where",
            '''
        join click c on c.request_id = p.request_id left join truth t on t.query_norm = h.query_norm and t.item_id = c.item_id where''',
        )
    }
    """).fetchone()
    assert clicked > 0.85 * again and true > 0.8 * again  # 2 % of events lose their request
    other = shop.execute("""select avg((c.item_id is not null)::int) from search s left join
        (select distinct request_id, any_value(item_id) as item_id from click group by 1) c using (request_id) where hardness = 'plain'""")
    assert other.fetchone()[0] < 0.7
    none = Plan(first=FIRST, num_days=2, users=100, hard_share=0.3, reformulate_share=0)
    done = simulate(none, 0)
    assert (done.searches.hard >= 0).sum() > 50 and not (done.searches.rewords >= 0).any()


def test_the_types_planted_are_those_that_features_tell(spark):
    hard = make_hard_queries(PLAN)
    rows = [(text, HARDNESS[kind], sorted(reading(text)[1])) for text, kind in zip(hard.texts, hard.kind, strict=False)]
    told = spark.createDataFrame(rows, "query string, planted string, unwanted array<string>").select(
        "*", hardness(F.col("query"), F.lit(False)).alias("found"), negated_words(F.col("query")).alias("negated")
    )
    wrong = told.where("found <> planted or negated <> unwanted").limit(5).collect()
    assert len(rows) == 800 and not wrong, wrong


def test_the_truth_folder_holds_the_queries_once(spark, tmp_path):
    small = {"users": "20", "items": "400", "hard_share": "0.5", "reformulate_share": "1"}
    read(spark, None, (FIRST, FIRST), **small, partitions="2", truth=str(tmp_path / "truth"), scratch=str(tmp_path / "scratch"))
    rows = ds.dataset(tmp_path / "truth" / "queries", format="parquet").to_table()
    wanted = query_truth(Plan(first=FIRST, num_days=1, users=20, items=400, hard_share=0.5))
    assert rows.num_rows > 1000 and rows.sort_by("query_norm").equals(wanted.sort_by("query_norm"))


def test_shares_outside_their_range_and_without_effect_are_told():
    for wrong in ({"hard_share": "1.5"}, {"hard_share": "nan"}, {"hard_share": "0.1", "reformulate_share": "-1"}):
        with pytest.raises(SourceError, match=r"option (hard|reformulate)_share is .*, must be a number from 0 to 1"):
            read(None, None, (FIRST, FIRST), **wrong)
    with pytest.raises(SourceError, match="reformulate_share has no effect without hard_share"):
        read(None, None, (FIRST, FIRST), reformulate_share="0.2")
