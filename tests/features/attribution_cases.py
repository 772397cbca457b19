"""Generated requests and events with every edge of attribution in them, and the oracle that DuckDB answers them with."""

import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import duckdb
import pyarrow as pa

DAY = date(2026, 1, 10)
NOON = datetime(2026, 1, 10, 12, tzinfo=UTC)
MICRO = timedelta(microseconds=1)
DELTAS = (
    timedelta(0),
    MICRO,
    -MICRO,
    timedelta(minutes=30),
    timedelta(hours=5),
    timedelta(hours=24),
    timedelta(hours=24) - MICRO,
    timedelta(days=3),
    timedelta(days=7),
    timedelta(days=7) - MICRO,
    timedelta(days=7) + MICRO,
    -timedelta(hours=2),
)


def requests(seed: int, number: int) -> list[dict[str, object]]:
    """Requests of nine days: few users, items and whole hours, so that times tie and pairs repeat; one hot (user, item)."""
    rng = random.Random(seed)
    rows = []
    for n in range(number):
        at = NOON + timedelta(hours=11) - timedelta(hours=rng.randrange(9 * 24 - 1))
        items = [f"i{rng.randrange(40)}" for _ in range(rng.randrange(13))] + (["hot"] if rng.random() < 0.4 else [])
        shown = rng.sample(range(len(items)), k=min(len(items), rng.randrange(4)))
        rows.append({
            "request_id": f"r{n:04d}", "user_id": f"u{rng.randrange(12)}", "domain": rng.choice(["search"] * 5 + ["rec", "shop"]),
            "requested_at": at, "day": at.date(), "query_norm": rng.choice([None, "red shoe", "lamp"]),
            "candidates": [
                {
                    "item_id": item, "is_exposed": k in shown,
                    "position": rng.choice([None, 1, 2, 3]) if k in shown else None,
                    "stage": "exposed" if k in shown else rng.choice(["recalled", "pre_ranked", "ranked", "ranked", "ranked"]),
                }
                for k, item in enumerate(items)
            ],
        })  # fmt: skip
    return rows


def events(seed: int, number: int, of: list[dict[str, object]]) -> list[dict[str, object]]:
    """Events round those requests at both ends of each window, some repeated, some late, some by others or about other items."""
    rng = random.Random(seed)
    rows: list[dict[str, object]] = []
    while len(rows) < number:
        row = dict(rng.choice(rows)) if rows and rng.random() < 0.15 else _event(rng, of)
        row["event_id"] = f"e{len(rows):05d}"
        row["available_at"] = row["event_at"] + rng.choice([timedelta(0), timedelta(seconds=40), timedelta(hours=12), timedelta(hours=30)])
        row["day"] = row["available_at"].date()
        if DAY - timedelta(days=8) <= row["day"] <= DAY:
            rows.append(row)
    return rows


def _event(rng: random.Random, of: list[dict[str, object]]) -> dict[str, object]:
    request = rng.choice(of)
    items = [c["item_id"] for c in request["candidates"]]
    event_type = rng.choice(["click"] * 4 + ["pay"] * 4 + ["cart", "detail"])
    named = rng.choice([request["request_id"], request["request_id"], rng.choice(of)["request_id"], None, "unknown"])
    return {
        "user_id": request["user_id"] if rng.random() < 0.9 else f"u{rng.randrange(14)}",
        "item_id": rng.choice(items) if items and rng.random() < 0.85 else f"i{rng.randrange(44)}",
        "event_type": event_type, "domain": rng.choice(["search", "search", "rec", "shop"]),
        "event_at": request["requested_at"] + rng.choice(DELTAS), "request_id": named,
        "order_id": rng.choice([None, "o1", "o2"]) if event_type == "pay" else None,
    }  # fmt: skip


ORACLE = """
with judged as (
    select *, row_number() over (
        partition by user_id, item_id, event_type, order_id,
            case when order_id is null then floor(epoch_us(event_at) // 1800000000) end, case when domain = 'search' then request_id end
        order by available_at, event_at, event_id) > 1 as is_duplicate
    from events
), due as (select * from judged where day = $day and event_type in ('click', 'pay') and not is_duplicate
), pairs as (
    select e.event_id, e.event_type, e.event_at, e.request_id = s.request_id as is_named, s.*,
        exists (select 1 from events c where c.event_type = 'click' and c.domain = 'search' and c.request_id = s.request_id
                and c.item_id = s.item_id and c.user_id = s.user_id and c.event_at < e.event_at) as is_clicked,
        e.event_at >= s.requested_at and e.event_at < s.requested_at
            + case e.event_type when 'click' then interval 24 hours else interval 7 days end as in_window
    from due e join samples s on e.user_id = s.user_id and e.item_id = s.item_id
), levelled as (
    select *, case
        when not in_window then null
        when is_named and is_exposed then 1
        when event_type = 'click' and is_exposed then 2
        when event_type = 'click' then 3
        when is_clicked then 4
        when is_exposed then 5
        else 6 end as level
    from pairs
), chosen as (
    select *, row_number() over (partition by event_id order by level nulls last, requested_at desc, position nulls last, request_id) as n
    from levelled
)
select j.event_id, j.user_id, j.item_id, j.event_type, j.domain, j.event_at, j.available_at, j.request_id as origin_request_id, j.order_id,
    case when j.event_type not in ('click', 'pay') then 'other_type' when j.is_duplicate then 'duplicate'
        when c.event_id is null then 'no_candidate' when c.level is null then 'outside_window'
        else ['native', 'click_exposed', 'click_unexposed', 'pay_clicked', 'pay_exposed', 'pay_unexposed'][c.level] end as fate,
    c.level as attribution_level,
    case when c.level is not null then c.request_id end as request_id,
    case when c.level is not null then c.request_day end as request_day,
    case when c.level is not null then c.requested_at end as requested_at,
    case when c.level is not null then c.query_norm end as query_norm,
    case when c.level is not null then epoch_us(c.event_at) - epoch_us(c.requested_at) end as lag_us
from judged j left join chosen c on j.event_id = c.event_id and c.n = 1
where j.day = $day order by j.event_id
"""


def oracle(samples: pa.Table, loaded: pa.Table, day: date = DAY) -> list[tuple[object, ...]]:
    """What attribution must give for each event of the day, by joining all pairs."""
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'; set threads = 1")
        connection.register("samples", naive(samples))
        connection.register("events", naive(loaded))
        return connection.execute(ORACLE, {"day": day}).fetchall()


def naive(table: pa.Table) -> pa.Table:
    """Timestamps without their zone, UTC: DuckDB then needs no extension for them."""
    return table.cast(pa.schema(list(_without_zone(table.schema))))


def _without_zone(schema: pa.Schema) -> Iterator[pa.Field]:
    for field in schema:
        yield field.with_type(pa.timestamp("us")) if pa.types.is_timestamp(field.type) else field
