"""The acceptance of ES3 on a shop whose truth is known: who caused what is recovered, the paper's multipliers are met, labels age.

One lake, twelve days of the simulator at its defaults. They arrive in four portions, so that day 4 is published when it ends and
issued again at ages 1, 3 and 8; day 5 is built at the end, so that the ratios stand on two days.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow.dataset as ds
import pytest
from pyspark.sql import functions as F

from features.sampling import draw
from jobs.ingest import ingest
from jobs.inputs import Tables
from jobs.plan import plan, run_plan
from jobs.sources import RawTable, simulator
from schemas.attributions import CREDITED
from sluice.stages import MEASURES, rates, stage_rows

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # a table-day takes seconds whatever its size; there are sixty

FIRST, DAY, LAST = date(2026, 1, 1), date(2026, 1, 4), date(2026, 1, 12)
AGES = (0, 1, 3, 8)
MEASURED = [DAY + timedelta(days=n) for n in range(2)]  # the first days lack what came before, the last ones what comes after


@dataclass
class Shop:
    """A lake with all that happened to it: receipts of `DAY` by its age, and what each arrival made stale."""

    lake: str
    truth: str
    issues: dict[int, dict[str, Any]] = field(default_factory=dict)
    stale: dict[int, list[tuple[str, date]]] = field(default_factory=dict)
    raw_before: dict[int, dict[tuple[str, date], str]] = field(default_factory=dict)
    examples: dict[int, tuple[list[str], dict[str, Any]]] = field(default_factory=dict)
    """Of `DAY` by its age: why hhsft_examples was built, and its receipt."""

    def receipts(self, table: str) -> list[dict[str, Any]]:
        return Tables(self.lake)[table].receipts()

    def raw_hashes(self) -> dict[tuple[str, date], str]:
        found = {table: Tables(self.lake)[table] for table in simulator.TABLES}
        return {(name, day): table.receipt(day)["content_hash"] for name, table in found.items() for day in table.days}

    def files(self, spark: "SparkSession", table: str) -> list[str]:
        opened = Tables(self.lake)[table]
        return [file.removeprefix("file://") for file in opened.read(spark, opened.days).inputFiles()]


def arrive(spark: "SparkSession", shop: Shop, log: Mapping[str, RawTable], folder: str, days: tuple[date, date]) -> None:
    """Ingest these days of a log that was simulated as a whole: shorter simulations would be other shops. No items once no build asks."""
    log = {table: raw for table, raw in log.items() if table != "items" or days[0] <= MEASURED[-1]}

    def read(*_: Any) -> dict[str, RawTable]:
        of_days = ds.field("day").isin([days[0] + timedelta(days=n) for n in range((days[1] - days[0]).days + 1)])
        lines = {table: ds.dataset(f"{folder}/{table}").count_rows(filter=of_days) for table in log}
        return {table: RawTable(raw.frame.where(F.col("day").between(*map(F.lit, days))), lines[table]) for table, raw in log.items()}

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(simulator, "read", read)
        for _ in ingest(spark, shop.lake, "simulator", None, days, {}):
            pass


def build(spark: "SparkSession", lake: str, day: date) -> dict[str, Any]:
    """Receipt of entire_space of the day, built with whatever it needs."""
    outcomes = list(run_plan(spark, lake, plan(lake, "entire_space", day, day, with_upstream=True)))
    assert outcomes[-1].table == "entire_space" and outcomes[-1].status == "published"
    return outcomes[-1].receipt


@pytest.fixture(scope="module")
def shop(spark: "SparkSession", tmp_path_factory: pytest.TempPathFactory) -> Shop:
    root = tmp_path_factory.mktemp("shop")
    log = simulator.read(spark, None, (FIRST, LAST), scratch=str(root / "log"), truth=str(root / "truth"))
    made = Shop(str(root / "lake"), str(root / "truth"))
    known = FIRST - timedelta(days=1)
    for age in AGES:
        made.raw_before[age] = made.raw_hashes()
        arrive(spark, made, log, str(root / "log"), (known + timedelta(days=1), DAY + timedelta(days=age)))
        known = DAY + timedelta(days=age)
        steps = plan(made.lake, "entire_space", DAY, DAY, with_upstream=True)
        made.stale[age] = [(s.table, s.day) for s in steps if s.reasons and Tables(made.lake)[s.table].publishes(s.day)]
        made.issues[age] = build(spark, made.lake, DAY)
        if age in (AGES[0], AGES[-1]):
            (step,) = plan(made.lake, "hhsft_examples", DAY, DAY)
            (outcome,) = run_plan(spark, made.lake, [step])
            made.examples[age] = list(step.reasons), outcome.receipt
    for day in MEASURED[1:]:
        build(spark, made.lake, day)
    return made


@pytest.fixture(scope="module")
def events(spark: "SparkSession", shop: Shop) -> duckdb.DuckDBPyConnection:
    """Table `events`: attributions of clicks and pays beside their planted cause, second clicks and redeliveries left out.

    explaining: requests of the user with the item among their samples, within the window before the event. chance: that of naming the
    planted one by picking evenly among them. is_right: the planted one was credited.
    """
    attributions, truth = shop.files(spark, "attributions"), f"{shop.truth}/events/*.parquet"
    requests = Tables(shop.lake)["requests"]
    searches = requests.read(spark, requests.days).where("domain = 'search'")
    drawn = searches.select(
        "request_id",
        "user_id",
        F.unix_micros("requested_at").alias("at"),
        F.explode(draw(F.col("candidates"), F.col("request_id"))).alias("c"),
    )
    connection = duckdb.connect()
    connection.register("samples", drawn.select("request_id", "user_id", "at", "c.item_id").toArrow())
    connection.execute(f"""
        create table judged as select *, epoch_us(event_at) as at, if(event_type = 'click', 1, 7) * 86400000000::bigint as width
        from read_parquet({attributions}) a join read_parquet('{truth}') t using (event_id)
        where event_type in ('click', 'pay') and fate <> 'duplicate' and not is_repeat
    """)
    connection.execute("""
        create table events as
        with explained as (
            select event_id, list(s.request_id) as explaining from judged e join samples s using (user_id, item_id)
            where s.at <= e.at and e.at < s.at + e.width group by event_id
        )
        select judged.*, coalesce(explaining, []) as explaining, coalesce(request_id = cause_request_id, false) as is_right,
            if(list_contains(explaining, cause_request_id), 1 / len(explaining), 0) as chance
        from judged left join explained using (event_id)
    """)
    return connection


def test_native_events_are_recovered_exactly(events):
    """They name the request that showed the item: nothing is left to guess."""
    planted, missed, foreign = events.execute("""
        select count(*) filter (cause_kind = 'native'), count(*) filter (cause_kind = 'native' and not (fate = 'native' and is_right)),
            count(*) filter (fate = 'native' and cause_kind <> 'native') from events
    """).fetchone()
    assert planted > 2000 and (missed, foreign) == (0, 0)


def test_no_event_is_credited_twice(spark, shop):
    credits = f"from read_parquet({shop.files(spark, 'attributions')}) where request_id is not null"
    with duckdb.connect() as connection:
        total, distinct = connection.execute(f"select count(*), count(distinct event_id) {credits}").fetchone()
    assert total == distinct > 5000


def test_what_only_one_request_explains_is_credited_to_it_at_its_level(events):
    found = events.execute(f"""
        select cause_kind, count(*), avg(is_right::int), avg((fate = cause_kind)::int) from events
        where cause_kind in {CREDITED} and explaining = [cause_request_id] group by all order by all
    """).fetchall()
    print("\nlevel, events that one request alone explains, credited to it, at the planted level:", *found, sep="\n")
    assert {level for level, *_ in found} == set(CREDITED) and {tuple(shares) for _, _, *shares in found} == {(1, 1)}


def test_precision_and_recall_by_level(events):
    """By chance: one of the requests that explain the event, drawn evenly.

    An item that one request showed and another only listed goes to the one that showed it: the paper's precedence, which costs the
    unexposed levels. Of unexposed causes two in three are drawn; some of these were shown by another request.
    """
    measured = {}
    for name, column in (("recall", "cause_kind"), ("precision", "fate")):
        measured[name] = events.execute(f"""
            select {column}, count(*), avg(is_right::int), avg(chance), avg((fate = cause_kind)::int) from events
            where {column} in {CREDITED} and {column} <> 'native' group by all order by all
        """).fetchall()
        print(f"\n{name} by level: events, planted request found, by chance, planted level found:", *measured[name], sep="\n")
    shown = {"click_exposed", "pay_clicked", "pay_exposed"}
    assert all(found > chance for rows in measured.values() for level, _, found, chance, _ in rows if level in shown)
    leveled = {level: share for level, *_, share in measured["recall"]}
    assert leveled["click_exposed"] > 0.99 and leveled["pay_clicked"] > 0.9  # what was shown is always drawn
    assert leveled["click_unexposed"] > 0.6  # 2 / 3 of 1,100, less four standard deviations of 0.014 each
    found, chance = events.execute(
        "select avg(is_right::int), avg(chance) from events where request_id is not null and fate <> 'native'"
    ).fetchone()
    print(f"\nof all credits but native ones {found:.3f} go to the planted request, by chance {chance:.3f}")
    assert found > chance + 0.04  # six standard deviations of a share of 3,800


def test_the_multipliers_of_the_paper(shop):
    """On two days in the middle together, some 570 native clicks, whose number has a standard deviation of 4 %."""
    receipts = [Tables(shop.lake)["entire_space"].receipt(day) for day in MEASURED]
    totals = {name: sum(r["totals"][name] for r in receipts) for name in receipts[0]["totals"]}
    stages = stage_rows(totals)
    for stage in stages:
        print(f"\n{stage['stage']:24}", *(f"{m} {stage['ratio'][m]:.3f} (paper {stage['paper'][m]})" for m in MEASURES), end="")
    found = rates(totals)
    print("\n", found, totals)
    for stage in stages:
        for measure in MEASURES:
            assert stage["ratio"][measure] == pytest.approx(stage["paper"][measure], rel=0.1), (stage["stage"], measure)
    assert found["cross_domain_positive_rate"] == pytest.approx(found["native_click_rate"], rel=0.1)


def test_the_books_of_every_table_day_balance(shop):
    accounts = [
        (r["table"], r["day"], a)
        for table in (*simulator.TABLES, "attributions", "entire_space")
        for r in shop.receipts(table)
        for a in r["accounts"]
    ]
    assert len(accounts) == 5 + 12 + 12 + 12 + 2 * 3
    assert not [(table, day) for table, day, a in accounts if a["in"] != sum(a["fates"].values()) or a["difference"]]
    for table in ("attributions", "entire_space"):
        seen = {fate for t, _, a in accounts if t == table for fate, n in a["fates"].items() if n}
        print(f"\n{table}: fates that occur:", ", ".join(sorted(seen)))


def test_a_late_event_makes_no_raw_day_stale(spark, shop):
    """It belongs to the day it arrived: of what was published only the labels of the days that it is about are to be built again."""
    count = "count(*) filter (event_at::date < available_at::date and available_at - event_at > interval 1 hour), count(*)"
    with duckdb.connect() as connection:
        late, num = connection.execute(f"select {count} from read_parquet({shop.files(spark, 'events')})").fetchone()
    print(f"\n{late} of {num} events arrived on a later day, an hour or more after they happened; stale then:", shop.stale)
    assert late > 50
    final = shop.raw_hashes()
    assert [len(before) for before in shop.raw_before.values()] == [0, 12, 15, 19] and len(final) == 29
    assert all(final[key] == value for before in shop.raw_before.values() for key, value in before.items())
    assert all(Tables(shop.lake)[table].publishes(day) == 1 for table, day in final)
    assert shop.stale == {0: [], **{age: [("entire_space", DAY)] for age in AGES[1:]}}


def test_labels_age_and_flip_until_they_are_final(shop):
    flips = {age: receipt["labels_flipped"] for age, receipt in shop.issues.items()}
    print("\nlabels flipped since the issue before, by age:", flips)
    assert [date.fromisoformat(r["label_as_of"]) for r in shop.issues.values()] == [DAY + timedelta(days=age) for age in AGES]
    assert flips[0] == {} and flips[1]["y_click"]["to_1"] > 50  # clicks are credited up to a day after the request
    assert all(flips[age]["y_pay"]["to_1"] > 0 for age in AGES[1:])  # pays up to seven
    assert len({r["content_hash"] for r in shop.issues.values()}) == len(AGES)
    assert {r["totals"]["search_requests"] for r in shop.issues.values()} == {shop.issues[0]["totals"]["search_requests"]}


def test_a_day_issued_four_times_equals_one_built_once_at_the_end(spark, shop, tmp_path):
    other = str(tmp_path / "lake")
    shutil.copytree(shop.lake, other, ignore=shutil.ignore_patterns("entire_space*", "_scratch"))
    receipt = build(spark, other, DAY)
    assert receipt["label_as_of"] == LAST.isoformat() and receipt["labels_flipped"] == {}
    assert receipt["content_hash"] == shop.issues[AGES[-1]]["content_hash"]


def test_examples_follow_the_samples_that_they_are_made_of(shop):
    """Row for row and label for label, at both ages; what was issued again makes them stale, and they know as much of the labels."""
    for age, (_, receipt) in shop.examples.items():
        samples, totals = shop.issues[age], receipt["totals"]
        assert receipt["rows"] == samples["rows"] > 800 and totals["samples"] == samples["totals"]["samples"]
        assert totals["clicks"] == sum(samples["totals"][name] for name in ("search_clicks", "pseudo_clicks"))
        assert totals["evaluated"] == samples["totals"]["exposed"] and totals["pays"] >= samples["totals"]["search_pays"] > 0
        assert receipt["label_as_of"] == samples["label_as_of"] == f"{DAY + timedelta(days=age)}"
        assert [(a["in"], a["fates"]) for a in receipt["accounts"]] == [
            (n, {"example": n, "quarantined": 0}) for n in (receipt["rows"], totals["samples"])
        ]
        assert [r["name"] for r in receipt["results"] if not r["success"]] == []
    (missing, first), (stale, last) = shop.examples[AGES[0]], shop.examples[AGES[-1]]
    assert missing == ["missing"]
    assert stale == [f"input changed: entire_space {DAY}", "labels still open: known for 0 of 8 days, now for 8"]
    assert last["totals"]["clicks"] > first["totals"]["clicks"] and sum(f["to_1"] for f in last["labels_flipped"].values()) > 0
