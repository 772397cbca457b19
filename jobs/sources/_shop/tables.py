"""Arrow tables of a simulated chunk and of a day's catalogue, by the contracts of the raw tables."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.sources._shop import HOUR, SEARCH, SHOP, Plan
from jobs.sources._shop.behaviour import CAUSES, DETAIL, PAY, TYPES, Chunk
from jobs.sources._shop.catalogue import FACETS, facet_words, make_catalogue, phrase
from jobs.sources._shop.hard import HARDNESS, PLAIN, make_hard_queries, true_slots
from jobs.sources._shop.lists import ABSENT, EXPOSED, Lists, Requests
from schemas.derive import arrow_schema
from schemas.events import CONTRACT as EVENTS
from schemas.items import CONTRACT as ITEMS
from schemas.requests import CONTRACT as REQUESTS
from schemas.requests import DOMAINS

FATE = pa.field("_fate", pa.string())
EVENT_TRUTH = pa.schema(
    [
        ("event_id", pa.string()),
        ("cause_kind", pa.string()),
        ("cause_request_id", pa.string()),
        ("led_by_request_id", pa.string()),
        ("is_repeat", pa.bool_()),
        ("is_bot", pa.bool_()),
    ]
)
CANDIDATE_TRUTH = pa.schema(
    [
        ("request_id", pa.string()),
        ("item_id", pa.string()),
        ("preference", pa.float64()),
        ("p_click", pa.float64()),
        ("is_sought", pa.bool_()),
        ("is_bot", pa.bool_()),
    ]
)
QUERY_TRUTH = pa.schema([("query_norm", pa.string()), ("hardness", pa.string()), ("item_id", pa.string())])
_STAGES = pa.array(["exposed", "ranked", "pre_ranked", "recalled"])
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def chunk_tables(plan: Plan, chunk: int, done: Chunk) -> dict[str, pa.Table]:
    """`requests` and `events` with _fate; `truth_events` and `truth_candidates`."""
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([plan.seed, 2, chunk])))  # for the log's own details
    num_searches = len(done.searches.user)
    ids = _join([f"r{chunk:05d}", np.arange(num_searches + len(done.feeds.user))], "-")
    visits = [_visits(plan, requests, done.users.number) for requests in (done.searches, done.feeds)]
    queries = _query_texts(plan, done.searches, rng)
    nulls = pa.nulls(len(done.feeds.user), pa.string())
    searches = _requests(plan, done, done.searches, done.found, ids[:num_searches], visits[0], queries, rng)
    feeds = _requests(plan, done, done.feeds, done.fed, ids[num_searches:], visits[1], (nulls, nulls), rng)
    visit_ids = pa.concat_arrays(visits)
    truth = [
        _candidate_truth(done, done.searches, done.found, ids[:num_searches]),
        _candidate_truth(done, done.feeds, done.fed, ids[num_searches:]),
    ]
    tables = {"requests": pa.concat_tables([searches, feeds]), "truth_candidates": pa.concat_tables(truth)}
    return tables | _events(plan, chunk, done, ids, visit_ids, queries[0], rng)


def item_table(plan: Plan, day: int) -> pa.Table:
    """`items` of a day with _fate. The snapshot is true from midnight and can be read between 01:00 and 02:00."""
    catalogue = make_catalogue(plan)
    item = np.arange(plan.items)
    slot, leaf = np.divmod(item, catalogue.num_leaves)
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([plan.seed, 3, day])))
    midnight = np.full(plan.items, day * 24 * HOUR)
    status = pa.array(["off_shelf", "on_shelf"]).take(pa.array(catalogue.is_on_shelf[day, leaf, slot].astype(np.int8)))
    texts = _item_texts(plan)
    columns = [
        _days(plan, midnight),
        _item_ids(plan),
        texts["title"],
        texts["category_path"],
        texts["brand"],
        _join(["s", leaf // 5, "-", catalogue.shop[leaf, slot]]),
        pa.array(catalogue.cents[day, leaf, slot]),
        status,
        texts["attributes"],
        _times(plan, midnight),
        _times(plan, midnight + HOUR + rng.integers(0, HOUR, plan.items)),
    ]
    return _table(ITEMS, columns, None)


def query_truth(plan: Plan) -> pa.Table:
    """(query_norm, hardness, item_id): all true products of each hard query, and of each plain one those with all of its words."""
    catalogue, hard = make_catalogue(plan), make_hard_queries(plan)
    texts, last = _texts(plan), len(hard.texts)
    leaf, query = (each.ravel() for each in np.indices(catalogue.query_facets.shape[1:]))
    none = np.full(len(leaf), -1)
    plain = np.stack([leaf, query, none, none, np.full(len(leaf), PLAIN)])
    asked = np.stack([hard.leaf, hard.plain, hard.facet, hard.value, hard.kind])[:, :last]
    wishes = np.concatenate([plain, asked], axis=1)
    once = np.unique([f"{leaf} {text}" for leaf, text in zip(wishes[0], texts, strict=True)], return_index=True)[1]
    leaf, query, facet, value, kind = wishes[:, once]
    row, slot = np.nonzero(true_slots(catalogue, leaf, query, facet, value))
    columns = [
        pa.array(texts).take(pa.array(once[row])),
        pa.array(HARDNESS).take(pa.array(kind[row])),
        _item_names(slot * catalogue.num_leaves + leaf[row]),
    ]
    return pa.Table.from_arrays(columns, schema=QUERY_TRUTH)


def _table(contract: object, columns: list, fate: pa.Array | None) -> pa.Table:
    fate = pa.array(["kept"]).take(pa.array(np.zeros(len(columns[0]), np.int8))) if fate is None else fate
    return pa.Table.from_arrays([*columns, fate], schema=arrow_schema(contract).append(FATE))


def _requests(
    plan: Plan,
    done: Chunk,
    requests: Requests,
    lists: Lists,
    ids: pa.Array,
    visits: pa.Array,
    queries: tuple[pa.Array, pa.Array],
    rng: np.random.Generator,
) -> pa.Table:
    n = len(requests.user)
    is_search = bool(n) and requests.domain[0] == SEARCH
    lists = _repeat_some(plan, lists, rng) if is_search else lists
    is_there = lists.stage < ABSENT
    row, column = np.nonzero(is_there)
    item, stage = lists.item[is_there], lists.stage[is_there]
    slot, leaf = np.divmod(item, plan.num_leaves)
    cents = make_catalogue(plan).cents[requests.at[row] // (24 * HOUR), leaf, slot]
    propensity = lists.propensity[is_there]
    fields = [
        _item_ids(plan).take(pa.array(item)),
        _STAGES.take(pa.array(stage)),
        pa.array(stage == EXPOSED),
        pa.array((column + 1).astype(np.int32), mask=stage != EXPOSED),
        pa.array(propensity, mask=np.isnan(propensity)),
        pa.array(lists.score[is_there].astype(np.float64)),
        pa.array(cents),
    ]
    struct = arrow_schema(REQUESTS).field("candidates").type.value_type
    offsets = np.concatenate([[0], np.cumsum(is_there.sum(axis=1))]).astype(np.int32)
    candidates = pa.ListArray.from_arrays(pa.array(offsets), pa.StructArray.from_arrays(fields, fields=list(struct)))
    columns = [
        _days(plan, requests.at),
        ids,
        _user_ids(done, requests.user),
        visits,
        pa.array(DOMAINS).take(pa.array(requests.domain)),
        _times(plan, requests.at),
        *queries,
        _contexts(requests, rng),
        candidates.cast(arrow_schema(REQUESTS).field("candidates").type),
    ]
    return _table(REQUESTS, columns, None)


def _repeat_some(plan: Plan, lists: Lists, rng: np.random.Generator) -> Lists:
    """A page request sent twice: some lists hold an item of their page again, as recalled, in their last place."""
    rows = np.nonzero((rng.random(len(lists.item)) < plan.shop.repeated_candidate_rate) & (lists.stage[:, -1] < ABSENT))[0]
    item = lists.item.copy()
    item[rows, -1] = item[rows, 0]
    return Lists(**(vars(lists) | {"item": item}))


def _contexts(requests: Requests, rng: np.random.Generator) -> pa.Array:
    """device, and the seller's page in shop."""
    n = len(requests.user)
    devices = pa.array(["phone", "tablet", "desktop"]).take(pa.array(np.searchsorted((0.75, 0.83), rng.random(n))))
    sellers = _join(["s", requests.leaf // 5, "-", np.maximum(requests.shop, 0)])
    is_pair = np.stack([np.ones(n, bool), requests.domain == SHOP], axis=1)
    position = np.arange(n)[:, None] + np.array([0, n])
    values = pa.concat_arrays([devices, sellers]).take(pa.array(position[is_pair]))
    keys = pa.array(["device", "shop_id"]).take(pa.array(np.broadcast_to([0, 1], is_pair.shape)[is_pair]))
    offsets = np.concatenate([[0], np.cumsum(is_pair.sum(axis=1))]).astype(np.int32)
    return pa.MapArray.from_arrays(pa.array(offsets), keys, values)


def _candidate_truth(done: Chunk, requests: Requests, lists: Lists, ids: pa.Array) -> pa.Table:
    is_there = lists.stage < ABSENT
    row, _ = np.nonzero(is_there)
    item, p_click = lists.item[is_there], lists.p_click[is_there]
    columns = [
        ids.take(pa.array(row)),
        _item_names(item),
        pa.array(lists.preference[is_there].astype(np.float64)),
        pa.array(p_click.astype(np.float64), mask=lists.stage[is_there] != EXPOSED),
        pa.array((item == requests.sought[row]) & (lists.stage[is_there] == EXPOSED)),
        pa.array(done.users.is_bot[requests.user[row]]),
    ]
    return pa.Table.from_arrays(columns, schema=CANDIDATE_TRUTH)


def _events(
    plan: Plan, chunk: int, done: Chunk, request_ids: pa.Array, visit_ids: pa.Array, queries: pa.Array, rng: np.random.Generator
) -> dict[str, pa.Table]:
    log, catalogue, last = done.log, make_catalogue(plan), plan.num_days - 1
    events = log.events
    slot, leaf = np.divmod(events.item, catalogue.num_leaves)
    is_pay, is_detail = events.type == PAY, events.type == DETAIL
    cents = catalogue.cents[np.minimum(events.at // (24 * HOUR), last), leaf, slot]
    made = int(log.number.max(initial=0)) + 1  # what a redelivery repeats must be drawn by event number, not by row
    amount = cents * np.where(rng.random(made) < 0.9, 1, 2)[log.number]
    dwell = np.round(np.exp(rng.normal(3.7, 0.9, made)), 1)[log.number]
    ids = _join([f"e{chunk:05d}", log.number], "-")
    orders = pc.if_else(pa.array(is_pay), _join([f"o{chunk:05d}", log.number], "-"), pa.scalar(None, pa.string()))
    is_search = (events.domain == SEARCH) & (events.request >= 0)
    columns = [
        _days(plan, log.available_at),
        ids,
        _user_ids(done, events.user),
        _take(visit_ids, events.visit),
        _item_ids(plan).take(pa.array(events.item)),
        pa.array(TYPES).take(pa.array(events.type)),
        pa.array(DOMAINS).take(pa.array(events.domain)),
        _times(plan, events.at),
        _times(plan, log.available_at),
        _take(request_ids, events.request),
        _take(queries, np.where(is_search, events.request, -1)),
        orders,
        pa.array(amount, mask=~is_pay),
        pa.array(dwell, mask=~is_detail),
    ]
    fates = pa.array(["kept", "duplicate"]).take(pa.array(log.is_redelivered.astype(np.int8)))
    once = np.unique(log.number, return_index=True)[1]
    truth = [
        ids,
        pa.array(CAUSES).take(pa.array(events.cause)),
        _take(request_ids, np.where(events.cause > 0, events.source, -1)),
        _take(request_ids, events.source),
        pa.array(log.is_repeat),
        pa.array(done.users.is_bot[events.user]),
    ]
    return {"events": _table(EVENTS, columns, fates), "truth_events": pa.Table.from_arrays(truth, schema=EVENT_TRUTH).take(pa.array(once))}


def _query_texts(plan: Plan, searches: Requests, rng: np.random.Generator) -> tuple[pa.Array, pa.Array]:
    """The query as sent (one in five with stray capitals or blanks) and as normalised."""
    texts, size = _queries(plan), len(_texts(plan))
    plain = searches.leaf * plan.shop.queries_per_leaf + searches.query
    number = np.where(searches.hard >= 0, len(make_catalogue(plan).queries) + searches.hard, plain)
    variant = np.searchsorted((0.80, 0.90, 0.95), rng.random(len(number)))
    return texts.take(pa.array(number + variant * size)), texts.take(pa.array(number))


@lru_cache(maxsize=2)
def _queries(plan: Plan) -> pa.Array:
    texts = _texts(plan)
    return pa.array([*texts, *(t.title() for t in texts), *(f" {t} " for t in texts), *(t.replace(" ", "  ") for t in texts)])


def _texts(plan: Plan) -> list[str]:
    """Queries as normalised: the plain ones of all leaves, then the hard ones."""
    return [*make_catalogue(plan).queries, *make_hard_queries(plan).texts]


@lru_cache(maxsize=2)
def _item_texts(plan: Plan) -> dict[str, pa.Array]:
    catalogue, columns = make_catalogue(plan), {"title": [], "category_path": [], "brand": [], "attributes": []}
    for item in range(plan.items):
        slot, leaf = divmod(item, catalogue.num_leaves)
        words, name = facet_words(catalogue, leaf, catalogue.facets[:, leaf, slot]), catalogue.leaf_names[leaf]
        columns["title"].append(phrase(name, words).title())
        columns["category_path"].append(["all", catalogue.department_names[leaf // 5], name])
        columns["brand"].append(words[0])
        columns["attributes"].append(list(zip(FACETS[1:], words[1:], strict=True)))
    return {name: pa.array(values, arrow_schema(ITEMS).field(name).type) for name, values in columns.items()}


@lru_cache(maxsize=2)
def _item_ids(plan: Plan) -> pa.Array:
    return _item_names(np.arange(plan.items))


def _item_names(item: np.ndarray) -> pa.Array:
    return _join(["i", item])


def _user_ids(done: Chunk, user: np.ndarray) -> pa.Array:
    return _join(["u", done.users.number]).take(pa.array(user))


def _visits(plan: Plan, requests: Requests, numbers: np.ndarray) -> pa.Array:
    """Session of each request: the visit, or its own where a user came back for one item."""
    own = np.arange(len(requests.user)) + 3 * plan.num_days
    return _join(["v", numbers[requests.user], "-", np.where(requests.visit >= 0, requests.visit, own)])


def _take(values: pa.Array, index: np.ndarray) -> pa.Array:
    return values.take(pa.array(index, mask=index < 0))


def _join(parts: Sequence[str | np.ndarray], separator: str = "") -> pa.Array:
    columns = [part if isinstance(part, str) else pc.cast(pa.array(part), pa.string()) for part in parts]
    return pc.binary_join_element_wise(*columns, separator)


def _times(plan: Plan, at: np.ndarray) -> pa.Array:
    first = datetime(plan.first.year, plan.first.month, plan.first.day, tzinfo=UTC)
    return pa.array(at + (first - _EPOCH) // timedelta(microseconds=1)).cast(pa.timestamp("us", tz="UTC"))


def _days(plan: Plan, at: np.ndarray) -> pa.Array:
    return pa.array((at // (24 * HOUR) + (plan.first - _EPOCH.date()).days).astype(np.int32)).cast(pa.date32())
