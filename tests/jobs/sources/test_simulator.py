"""The simulated shop: its rates are recovered from its rows, its truth is consistent, and its rows do not depend on how they were made."""

from datetime import date, timedelta

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pytest
from pyspark.sql import functions as F

from features.text import norm_query
from jobs.sources import SourceError
from jobs.sources._shop import REC, SEARCH, SHOP, Plan
from jobs.sources._shop.behaviour import simulate
from jobs.sources._shop.tables import chunk_tables, item_table
from jobs.sources.simulator import OPTIONS, TABLES, read
from schemas.contract import load
from schemas.derive import spark_schema

FIRST, LAST = date(2026, 1, 1), date(2026, 1, 10)
PLAN = Plan(first=FIRST, num_days=10, users=500)
SMALL = {"users": "60", "items": "600", "searches_per_user_day": "20"}  # two chunks of users in three days
KEYS = {"items": ["day", "item_id"], "requests": ["request_id"], "events": ["event_id", "available_at"]}


@pytest.fixture(scope="module")
def shop():
    """The log of PLAN and its truth in DuckDB, candidates flat, made without Spark: 15,000 searches, 1.5 M candidates."""
    chunks = [chunk_tables(PLAN, n, simulate(PLAN, n)) for n in range(PLAN.num_chunks)]
    db = duckdb.connect()
    db.execute("set timezone = 'UTC'")
    for name in chunks[0]:
        db.register(f"{name}_rows", pa.concat_tables(chunk[name] for chunk in chunks))
        db.execute(f"create table {name} as select * from {name}_rows")
    db.register("items", pa.concat_tables(item_table(PLAN, n) for n in range(PLAN.num_days)))
    db.execute("create table kept as select * from events where _fate = 'kept'")
    db.execute("""create table listed as select * exclude (c), c.* from (select request_id, user_id, domain, requested_at, day,
        unnest(candidates) as c, generate_subscripts(candidates, 1) as place from requests)""")
    db.execute("""create table candidates as from listed
        qualify row_number() over (partition by request_id, item_id order by place) = 1""")  # without the items listed twice
    return db


def row(db, query):
    return db.execute(query).fetchone()


def bound(p, n):
    """Four standard errors of a share p of n."""
    return 4 * np.sqrt(p * (1 - p) / n)


@pytest.mark.parametrize("domain", [SEARCH, REC, SHOP])
def test_clicks_by_position_show_the_position_bias(shop, domain):
    """sum(clicks) / sum(preference) at a position is its bias; chance level: without bias it would be 1 everywhere."""
    found = shop.execute(f"""
        select c.position, sum(t.preference) as looked, count(e.item_id) as clicked from candidates c
        join truth_candidates t using (request_id, item_id)
        left join (select distinct request_id, item_id from kept where event_type = 'click') e using (request_id, item_id)
        where c.is_exposed and not t.is_sought and not t.is_bot and c.domain = '{("search", "rec", "shop")[domain]}' group by 1 order by 1
    """).fetchnumpy()
    planted, kept = PLAN.shop.domains[domain], 1 - PLAN.shop.lost_request_rate
    bias = (1 + (found["position"] - 1) / planted.bias_scale) ** -planted.bias_decay
    expected = found["looked"] * bias * kept
    assert len(bias) >= 13
    assert np.all(np.abs(found["clicked"] - expected) < 4 * np.sqrt(expected) + 3)
    slope = np.polyfit(np.log(bias), np.log(found["clicked"] / found["looked"]), 1, w=np.sqrt(expected))[0]
    assert slope == pytest.approx(1.0, abs=0.25)  # 0 without bias


def test_domains_differ_in_what_people_choose(shop):
    """The clicked are nearer to the usual budget than the shown: more so in search, where price counts four times as much as in rec."""
    found = dict(
        shop.execute("""select domain, avg(abs(ln(price_cents) - 8)) filter (is_clicked) - avg(abs(ln(price_cents) - 8)) from (
            select c.*, e.item_id is not null as is_clicked from candidates c join truth_candidates t using (request_id, item_id)
            left join (select distinct request_id, item_id from kept where event_type = 'click') e using (request_id, item_id)
            where c.is_exposed and not t.is_sought and not t.is_bot) group by 1""").fetchall()
    )
    assert found["search"] < found["shop"] < 0 and found["search"] < 2 * found["rec"] < 0, found


def test_events_are_late_repeated_lost_and_delivered_twice_at_the_planted_rates(shop):
    rates = PLAN.shop
    n, late, early, lost, seconds = row(
        shop,
        """select count(*), avg((available_at - event_at > interval 20 hours)::int), count(*) filter (available_at <= event_at),
           avg((request_id is null)::int) filter (session_id is not null), median(epoch(available_at - event_at)) from kept
           where event_at < timestamptz '2026-01-07'""",  # later ones may arrive after the last day
    )
    assert n > 20_000 and early == 0
    assert late == pytest.approx(rates.late_rate, abs=bound(rates.late_rate, n))
    assert lost == pytest.approx(rates.lost_request_rate, abs=bound(rates.lost_request_rate, n))
    assert 1 < seconds < 120
    again, twice, num = row(shop, "select count(*) filter (_fate = 'duplicate'), count(*) - count(distinct event_id), count(*) from events")
    assert 0 < again <= twice and twice / num == pytest.approx(rates.redelivery_rate, abs=bound(rates.redelivery_rate, num))
    assert row(shop, "select count(*) from (select event_id, day from kept group by all having count(*) > 1)") == (0,)
    repeats, clicks, slowest = row(
        shop,
        """select count(*) filter (t.is_repeat), count(*), max(epoch(a.event_at - first_at))
           from kept a join truth_events t using (event_id)
           left join (select user_id, item_id, request_id, min(event_at) as first_at from kept where event_type = 'click' group by all) b
           on t.is_repeat and a.user_id = b.user_id and a.item_id = b.item_id and a.request_id = b.request_id
           where event_type = 'click'""",
    )
    assert repeats / clicks == pytest.approx(rates.double_click_rate, abs=bound(rates.double_click_rate, clicks))
    assert 1 <= slowest < 30 * 60


def test_a_day_holds_what_arrived_on_it(shop):
    wrong = "select count(*) from {} where day <> cast({} as date) or day not between '2026-01-01' and '2026-01-10'"
    assert row(shop, wrong.format("events", "available_at")) == row(shop, wrong.format("requests", "requested_at")) == (0,)
    overnight, first, last = row(
        shop,
        """select count(*) filter (cast(event_at as date) < day and available_at - event_at < interval 1 hour), min(day), max(day)
           from events""",
    )
    assert overnight > 0 and (first, last) == (FIRST, LAST)


def test_pays_come_within_seven_days_from_other_visits_and_domains(shop):
    n, unnamed, latest, others, orders, without = row(
        shop,
        """select count(*), count(*) filter (e.request_id is null), max(epoch(e.event_at - r.requested_at)) / 86400,
           count(*) filter (e.domain <> 'search'), count(distinct order_id), count(*) filter (amount_cents is null) from kept e
           join truth_events t using (event_id) join requests r on r.request_id = t.cause_request_id where event_type = 'pay'""",
    )
    assert n > 500 and 5 < latest < 7 and 0 < unnamed < n and others > n / 4
    assert orders > 0.99 * n and without == 0  # some orders were delivered twice, on two days


def test_truth_names_a_search_that_listed_the_item_to_the_user_before(shop):
    found = shop.execute("""
        select t.cause_kind, count(*) as n,
        min(epoch(e.event_at - c.requested_at)) as first_s, max(epoch(e.event_at - c.requested_at)) as last_s,
        count(*) filter (c.user_id = e.user_id and c.domain = 'search') as same, count(*) filter (c.stage = 'exposed') as shown,
        count(*) filter (c.stage = 'ranked') as ranked, count(*) filter (e.request_id = c.request_id and e.domain = 'search') as named,
        count(*) filter (e.event_type = split_part(t.cause_kind, '_', 1) or t.cause_kind = 'native') as of_type
        from truth_events t join kept e using (event_id) join candidates c on c.request_id = t.cause_request_id and c.item_id = e.item_id
        group by 1""").df()
    found = found.set_index("cause_kind")
    credited, without = row(
        shop,
        """select count(*) filter (cause_kind <> 'none'), count(*) filter ((cause_kind = 'none') <> (cause_request_id is null))
           from truth_events""",
    )
    assert without == 0 and found["n"].sum() >= credited  # each has its one candidate; a redelivery of the next day counts again
    assert set(found.index) == {"native", "click_exposed", "click_unexposed", "pay_clicked", "pay_exposed", "pay_unexposed"}
    assert (found["same"] == found["n"]).all() and (found["of_type"] == found["n"]).all() and (found["first_s"] > 0).all()
    is_click = found.index.str.startswith("click")
    assert (found["last_s"][is_click] < 86_400).all() and (found["last_s"] < 7 * 86_400).all()
    unexposed = found.index.str.endswith("unexposed")
    assert (found["shown"][~unexposed] == found["n"][~unexposed]).all() and (found["ranked"][unexposed] == found["n"][unexposed]).all()
    assert found["named"]["native"] == found["n"]["native"] and found["named"].drop("native").sum() == 0
    (too_late,) = row(shop, "select count(*) from truth_events where cause_kind = 'none' and led_by_request_id is not null")
    assert too_late > 100  # they came back after the window
    assert row(shop, "select count(*) - count(distinct event_id) from truth_events") == (0,)


def test_lists_are_cut_with_known_chances(shop):
    found = row(
        shop,
        """select avg(shown), min(shown), max(shown), avg(entered) filter (shown >= 7), min(entered - shown) filter (entered = 40),
           max(abs(chances - shown)), avg((shown < 7)::int) from (select request_id, count(*) filter (is_exposed) as shown,
           count(*) filter (stage in ('exposed', 'ranked')) as entered, sum(propensity) as chances from candidates
           where domain = 'search' group by 1)""",
    )
    mean_shown, least, most, entered, left, off, few = found
    assert mean_shown == pytest.approx(10, abs=0.3) and least >= 1 and most == 13
    assert entered > 39 and left >= 26  # two for each of 13
    assert off < 1e-9  # the chances of a list sum to the number shown
    assert 0.005 < few < 0.06  # the queries that find few items
    explored, expected = row(
        shop, "select avg(is_exposed::int), avg(propensity) from candidates where propensity > 0 and propensity < 1 and domain = 'search'"
    )
    assert explored == pytest.approx(expected, rel=1e-9)  # one of each lottery is shown
    assert row(
        shop,
        "select count(*) from candidates where is_exposed <> (position is not null) or (domain <> 'search' and propensity is not null)",
    ) == (0,)
    broken = """select count(*) from (select request_id, count(distinct position) as places, max(position) as last, count(*) as n
                from candidates where is_exposed group by 1) where places <> n or last <> n"""
    assert row(shop, broken) == (0,)
    twice, searches = row(
        shop, "select (select count(*) from listed) - (select count(*) from candidates), count(*) from requests where domain = 'search'"
    )
    assert twice / searches == pytest.approx(PLAN.shop.repeated_candidate_rate, rel=0.5)


def test_snapshots_come_after_the_change_and_some_listed_items_are_gone(shop):
    late, n, changed, off = row(
        shop,
        """select count(*) filter (available_at < valid_at + interval 1 hour or available_at >= valid_at + interval 2 hours), count(*),
           avg((price_cents <> before)::int), avg((status = 'off_shelf')::int) from (select *, lag(price_cents) over
           (partition by item_id order by day) as before from items)""",
    )
    assert (late, n) == (0, PLAN.items * PLAN.num_days)
    assert changed == pytest.approx(PLAN.shop.price_change_rate, rel=0.1) and 0.005 < off < 0.02
    other, gone = row(
        shop,
        """select count(*) filter (i.price_cents <> c.price_cents), avg((i.status = 'off_shelf')::int)
           from candidates c join items i using (day, item_id)""",
    )
    assert other == 0 and 0 < gone < 0.01  # lists show the price of their day, before its snapshot can be read


def test_hot_user_hot_item_bots_and_long_tail(shop):
    asked = dict(shop.execute("select user_id, count(*) from requests where domain = 'search' group by 1").fetchall())
    mean = np.mean(list(asked.values()))
    assert asked["u0"] > 3 * mean
    bots = [
        user for (user,) in shop.execute("select distinct user_id from kept join truth_events using (event_id) where is_bot").fetchall()
    ]
    assert len(bots) == PLAN.users // PLAN.shop.users_per_bot and all(asked[bot] > 3 * mean for bot in bots)
    clicks = [
        n
        for (n,) in shop.execute("select count(*) from kept where event_type = 'click' group by item_id order by 1 desc limit 9").fetchall()
    ]
    (hot,) = row(shop, "select count(*) from kept where event_type = 'click' and item_id = 'i0'")
    assert hot == clicks[0] > 1.3 * clicks[1]
    texts, top, once = row(
        shop,
        """select count(*), max(n) / sum(n), avg((n <= 3)::int) from (select query_norm, count(*) as n from requests
           where domain = 'search' group by 1)""",
    )
    assert texts > 1000 and top > 0.01 and once > 0.3
    words = """with q as (select distinct unnest(string_split(query_norm, ' ')) as word from requests),
               t as (select distinct unnest(string_split(lower(title), ' ')) as word from items)
               select count(*), count(*) filter (word in (select word from t)) from q"""
    asked_words, known = row(shop, words)
    assert 50 < asked_words == known  # queries are made of the titles' words


def test_multipliers_of_the_paper(shop):
    """Requests 2x, samples 3x then 5x, click positives 2x then 4x of exposed-only, over the days with a past and a future."""
    days = "day between '2026-01-03' and '2026-01-07'"
    shop.execute("""
        create table sample as select * from (select *, sum(is_exposed::int) over (partition by request_id) as shown, row_number() over
            (partition by request_id, is_exposed order by md5(request_id || item_id)) as drawn from candidates
            where domain = 'search' and stage in ('exposed', 'ranked')) where is_exposed or drawn <= 2 * shown;
        create table once as from kept where event_type in ('click', 'pay') qualify row_number() over (partition by user_id, item_id,
            event_type, order_id, if(order_id is null, epoch_us(event_at) // 1800000000, 0), if(domain = 'search', request_id, null)
            order by available_at, event_id) = 1;
        create table native as select o.event_id, o.event_type, s.request_id, s.item_id, s.day from once o
            join sample s on s.request_id = o.request_id and s.item_id = o.item_id and s.is_exposed;
        create table credited as select event_id, request_id, item_id, day from native union all
            select event_id, request_id, item_id, day from (select o.event_id, s.*, row_number() over (partition by event_id order by
                not (event_type = 'pay' and n.item_id is not null), not is_exposed, s.requested_at desc, position) as best from once o
                join sample s on s.user_id = o.user_id and s.item_id = o.item_id and o.event_at >= s.requested_at
                and o.event_at < s.requested_at + if(event_type = 'click', interval 1 day, interval 7 days)
                left join (select distinct request_id, item_id from native where event_type = 'click') n
                on n.request_id = s.request_id and n.item_id = s.item_id
                where event_id not in (select event_id from native)) where best = 1;
        create table leaf as select distinct item_id, category_path[3] as leaf from items;
        create table act as select user_id, item_id, min(event_at) as first_at, max(event_at) as last_at from kept
            where event_type <> 'detail' group by all;
        create table pseudo as select o.event_id, o.day, least(count(*), 19) as negatives from once o
            join candidates c on c.request_id = o.request_id and c.is_exposed and c.item_id <> o.item_id
            join leaf a on a.item_id = o.item_id join leaf b on b.item_id = c.item_id and b.leaf = a.leaf
            left join act on act.user_id = o.user_id and act.item_id = c.item_id and act.first_at < o.event_at + interval 7 days
                and act.last_at > o.event_at - interval 7 days
            where o.event_type = 'click' and o.domain <> 'search' and cast(o.event_at as date) = o.day and act.item_id is null
            and o.event_id not in (select event_id from credited) group by 1, 2 having count(*) >= 3
    """)
    (requests,) = row(shop, f"select count(*) from requests where domain = 'search' and {days}")
    exposed, samples = row(shop, f"select count(*) filter (is_exposed), count(*) from sample where {days}")
    (clicks,) = row(shop, f"select count(distinct (request_id, item_id)) from native where {days}")
    (positives,) = row(shop, f"select count(distinct (request_id, item_id)) from credited where {days}")
    made, negatives = row(shop, f"select count(*), sum(negatives)::int from pseudo where {days}")
    assert exposed / requests == pytest.approx(10, rel=0.1) and clicks / exposed == pytest.approx(0.05, rel=0.1)
    assert samples / exposed == pytest.approx(3, rel=0.05)
    assert positives / clicks == pytest.approx(2, rel=0.1)
    assert (requests + made) / requests == pytest.approx(2, rel=0.1)
    assert (samples + made + negatives) / exposed == pytest.approx(5, rel=0.1)
    assert (positives + made) / clicks == pytest.approx(4, rel=0.1)
    assert made / (made + negatives) == pytest.approx(clicks / exposed, rel=0.1)  # as many positives among samples as in search


def test_another_seed_is_another_shop():
    tables = [
        chunk_tables(plan, 0, simulate(plan, 0))["events"] for plan in (Plan(first=FIRST, num_days=2, users=20, seed=s) for s in (7, 7, 8))
    ]
    assert tables[0].num_rows > 50 and tables[0].equals(tables[1]) and not tables[0].equals(tables[2])


@pytest.mark.parametrize(
    "plan",
    [
        Plan(first=FIRST, num_days=1, users=1, items=400, searches_per_user_day=0.01),
        Plan(first=FIRST, num_days=1, users=3, items=407, searches_per_user_day=30),
        Plan(first=FIRST, num_days=60, users=2, items=400),
    ],
    ids=["nobody comes", "one day", "two months"],
)
def test_the_smallest_shops_open(plan):
    tables = [chunk_tables(plan, n, simulate(plan, n)) for n in range(plan.num_chunks)]
    events, requests = (sum(chunk[name].num_rows for chunk in tables) for name in ("events", "requests"))
    assert requests >= plan.users * plan.num_days * plan.searches_per_user_day / 2 - 1 and (events > 0) == (requests > 10)
    assert item_table(plan, plan.num_days - 1).num_rows == plan.items


def stored(folder, table):
    rows = ds.dataset(f"{folder}/{table}", format="parquet").to_table()
    return rows.take(pc.sort_indices(rows, [(key, "ascending") for key in KEYS[table]]))


def test_rows_obey_the_contracts_and_do_not_depend_on_the_partitions(spark, tmp_path):
    days = (FIRST, FIRST + timedelta(days=2))
    one = read(spark, None, days, **SMALL, partitions="1", scratch=f"{tmp_path}/one")
    read(spark, None, days, **SMALL, partitions="5", scratch=f"{tmp_path}/five", truth=f"{tmp_path}/truth")
    for table in TABLES:
        contract, frame = load(table), one[table].frame
        columns = [column.name for column in contract.columns]
        rows = stored(f"{tmp_path}/one", table)
        assert rows.num_rows > 500 and rows.equals(stored(f"{tmp_path}/five", table))
        assert frame.columns == [*columns, "_fate", "_rule", "_reason", "_raw", "_line", "_num_lines"]
        assert frame.select(*columns).schema == spark_schema(contract)
        is_same = F.col("query_norm").eqNullSafe(norm_query(F.col("query_raw"))) if table == "requests" else F.lit(True)
        counts = frame.agg(
            F.sum("_num_lines"),
            F.count_if(F.col("day").isNull()),
            F.count_if(~is_same),
            F.count_if(F.col("_rule").isNotNull()),
            F.collect_set("_fate"),
        ).first()
        assert counts[:4] == (one[table].lines, 0, 0, 0) and one[table].lines == rows.num_rows
        assert set(counts[4]) == ({"kept", "duplicate"} if table == "events" else {"kept"})
    truth = ds.dataset(f"{tmp_path}/truth/candidates", format="parquet").to_table()
    assert truth.num_rows == sum(len(c) for c in stored(f"{tmp_path}/one", "requests")["candidates"])
    assert ds.dataset(f"{tmp_path}/truth/events", format="parquet").count_rows() > 500


def test_a_day_of_a_longer_simulation_is_that_day_of_the_whole(spark):
    """As a daily DAG reads it: request ids stay unique, late events arrive on their own day."""
    day, options = FIRST + timedelta(days=1), SMALL | {"span": f"{FIRST}..{FIRST + timedelta(days=2)}"}
    plan = Plan(first=FIRST, num_days=3, users=60, items=600, searches_per_user_day=20.0)
    chunks = [chunk_tables(plan, n, simulate(plan, n)) for n in range(plan.num_chunks)]
    of_day = read(spark, None, (day, day), **options)
    whole = {name: pa.concat_tables(chunk[name] for chunk in chunks) for name in ("requests", "events")} | {"items": item_table(plan, 1)}
    for table, key in (("items", "item_id"), ("requests", "request_id"), ("events", "event_id")):
        expected = whole[table].filter(pc.field("day") == day)[key].to_pylist()
        found = [r[key] for r in of_day[table].frame.where(F.col("day") == F.lit(day)).select(key).collect()]
        assert sorted(found) == sorted(expected)
        assert of_day[table].lines == len(found) > 0
    for wrong, said in ((f"{day}..{day}", "are not all within option span"), ("soon", "option span: days are 'soon'")):
        with pytest.raises(SourceError, match=said):
            read(None, None, (FIRST, FIRST), span=wrong)


def test_unusable_options_are_all_named_at_once(tmp_path):
    (tmp_path / "old").write_text("x")
    with pytest.raises(SourceError) as failed:
        read(None, "logs/", None, users="many", items="3", pages="2")
    for what in ("logs/", "days", "users", "'many'", "items", "'3'", "pages", ", ".join(OPTIONS)):
        assert what in str(failed.value)
    with pytest.raises(SourceError, match=f"scratch {tmp_path} is not empty"):
        read(None, None, (FIRST, LAST), scratch=str(tmp_path))
    with pytest.raises(SourceError, match="truth s3://bucket/truth is no local or mounted folder"):
        read(None, None, (FIRST, LAST), truth="s3://bucket/truth")
