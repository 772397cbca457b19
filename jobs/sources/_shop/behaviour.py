"""What users do with the lists: clicks, what follows them, returns to items of earlier searches, and how the log garbles all of it."""

from dataclasses import dataclass

import numpy as np

from jobs.sources._shop import CLICK_WINDOW, DAY, HOUR, MINUTE, PAY_WINDOW, REC, SEARCH, SECOND, SHOP, Plan, Return
from jobs.sources._shop.catalogue import make_catalogue
from jobs.sources._shop.lists import EXPOSED, RANKED, Lists, Requests, Users, feed_lists, make_users, make_visits, search_lists
from jobs.sources._shop.rewording import ask_hard, find_what_was_meant

TYPES = ("detail", "click", "fav", "cart", "pay")
DETAIL, CLICK, FAV, CART, PAY = range(5)
CAUSES = ("none", "native", "click_exposed", "click_unexposed", "pay_clicked", "pay_exposed", "pay_unexposed")
NONE, NATIVE, CLICK_EXPOSED, CLICK_UNEXPOSED, PAY_CLICKED, PAY_EXPOSED, PAY_UNEXPOSED = range(7)


@dataclass(frozen=True, eq=False)
class Events:
    """Events of a chunk: indices into its users and requests (searches first, then feeds), -1 for none."""

    user: np.ndarray
    item: np.ndarray
    type: np.ndarray
    domain: np.ndarray
    at: np.ndarray
    request: np.ndarray
    """The request that the event names."""
    visit: np.ndarray
    """The request in whose visit it happened, named or not."""
    source: np.ndarray
    """The search request that really brought the user to it, however long ago."""
    cause: np.ndarray
    """Place in CAUSES."""

    def take(self, rows: np.ndarray) -> "Events":
        return Events(**{name: values[rows] for name, values in vars(self).items()})

    def replace(self, **changes: np.ndarray) -> "Events":
        return Events(**(vars(self) | changes))


@dataclass(frozen=True, eq=False)
class Log:
    """Events as they reach the log, in order of event number: a number twice is a redelivery."""

    events: Events
    number: np.ndarray
    available_at: np.ndarray
    is_redelivered: np.ndarray
    """The same number arrived earlier on the same day."""
    is_repeat: np.ndarray
    """A second click of a double click."""


@dataclass(frozen=True, eq=False)
class Chunk:
    """All that a chunk of users did: searches with their lists, feeds with theirs, and the log of events."""

    users: Users
    searches: Requests
    found: Lists
    feeds: Requests
    fed: Lists
    log: Log


def simulate(plan: Plan, chunk: int) -> Chunk:
    """The chunk's users from the first day to the last; the same for the same plan and chunk, wherever it runs."""
    catalogue, shop = make_catalogue(plan), plan.shop
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([plan.seed, 1, chunk])))
    users = make_users(plan, catalogue, chunk, rng)
    searches = make_visits(plan, users, catalogue, plan.searches_per_user_day, SEARCH, rng)
    wording = np.random.Generator(np.random.Philox(np.random.SeedSequence([plan.seed, 5, chunk])))  # so that share 0 moves no draw
    searches = ask_hard(plan, users, searches, wording) if plan.hard_share else searches
    found = search_lists(plan, users, catalogue, searches, rng)
    searches, found = find_what_was_meant(plan, searches, found, wording)
    browses = make_visits(plan, users, catalogue, plan.searches_per_user_day * shop.browses_per_search, REC, rng)
    returns, bought = _returns(plan, users, searches, found, rng)
    feeds = _concat([browses, returns])
    fed = feed_lists(plan, users, catalogue, feeds, searches, found, rng)
    clicks = _concat([_clicks(searches, found, 0, rng), _clicks(feeds, fed, len(searches.user), rng)])
    clicks = clicks.replace(**_credit(clicks, searches, feeds, found))
    pays = _pays(plan, clicks, searches, found, users, rng)
    events = _concat([clicks, _follow(plan, clicks, rng), pays, bought])
    return Chunk(users, searches, found, feeds, fed, _log(plan, events, rng))


def _concat(parts: list) -> object:
    return type(parts[0])(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0])})


def _returns(plan: Plan, users: Users, searches: Requests, found: Lists, rng: np.random.Generator) -> tuple[Requests, Events]:
    """Requests of users who come back to an item of a plain search, and pays of those who come back only to buy it."""
    groups = {"exposed": (found.stage == EXPOSED) & ~found.is_clicked, "unexposed": found.stage == RANKED, "clicked": found.is_clicked}
    lists, pays = [], []
    for kind in plan.shop.returns:
        longing = np.where(groups[kind.of], np.log(found.preference + 1e-12) + rng.gumbel(size=found.item.shape), -np.inf)
        item = np.take_along_axis(found.item, longing.argmax(axis=1)[:, None], axis=1)[:, 0]
        may_return = groups[kind.of].any(axis=1) & ~users.is_bot[searches.user] & (searches.hard < 0)
        source = np.nonzero(may_return & (rng.random(len(may_return)) < kind.chance))[0]
        at = searches.at[source] + kind.min_lag + _truncated(rng, len(source), kind.mean_lag, kind.max_lag - kind.min_lag)
        part = _lists_of(plan, searches, item, source, at, rng) if kind.is_click else _pays_of(kind, searches, item, source, at, rng)
        (lists if kind.is_click else pays).append(part)
    requests = _concat(lists)
    return requests.take(np.nonzero(requests.at < plan.num_days * DAY)[0]), _concat(pays)


def _lists_of(plan: Plan, searches: Requests, item: np.ndarray, source: np.ndarray, at: np.ndarray, rng: np.random.Generator) -> Requests:
    """Lists of rec, or of the item's seller, in which the item of each source request is found again."""
    n, slot = len(source), item[source] // plan.num_leaves
    leaf, is_rec = searches.leaf[source], rng.random(n) < plan.shop.rec_share
    return Requests(
        user=searches.user[source],
        at=at,
        visit=np.full(n, -1),
        domain=np.where(is_rec, REC, SHOP),
        leaf=leaf,
        query=np.full(n, -1),
        shop=np.where(is_rec, -1, make_catalogue(plan).shop[leaf, slot]),
        sought=item[source],
        source=source,
        hard=np.full(n, -1),
        rewords=np.full(n, -1),
    )


def _pays_of(kind: Return, searches: Requests, item: np.ndarray, source: np.ndarray, at: np.ndarray, rng: np.random.Generator) -> Events:
    """Pays of the item of each source request, in any domain, from a later visit."""
    n, cause = len(source), {"exposed": PAY_EXPOSED, "unexposed": PAY_UNEXPOSED, "clicked": PAY_CLICKED}[kind.of]
    return Events(
        user=searches.user[source],
        item=item[source],
        type=np.full(n, PAY),
        domain=rng.integers(0, 3, n),
        at=at,
        request=np.full(n, -1),
        visit=np.full(n, -1),
        source=source,
        cause=np.full(n, cause),
    )


def _truncated(rng: np.random.Generator, n: int, mean: int, limit: int) -> np.ndarray:
    """Exponential times in [0, limit), by the inverse of the cut distribution."""
    return (-mean * np.log1p(-rng.random(n) * -np.expm1(-limit / mean))).astype(np.int64)


def _clicks(requests: Requests, lists: Lists, offset: int, rng: np.random.Generator) -> Events:
    """One click per clicked candidate, a few seconds per position after the request."""
    row, column = np.nonzero(lists.is_clicked)
    n = len(row)
    wait = (4 + 3 * column) * SECOND + (rng.exponential(15 * SECOND, n)).astype(np.int64)
    is_sought = lists.item[row, column] == requests.sought[row]
    return Events(
        user=requests.user[row],
        item=lists.item[row, column],
        type=np.full(n, CLICK),
        domain=requests.domain[row],
        at=requests.at[row] + wait,
        request=row + offset,
        visit=row + offset,
        source=np.where(is_sought, requests.source[row], -1) if offset else row,
        cause=np.full(n, NONE if offset else NATIVE),
    )


def _credit(clicks: Events, searches: Requests, feeds: Requests, found: Lists) -> dict[str, np.ndarray]:
    """Causes of clicks: native in search; else the level of the item in the search that brought the user back, within its window."""
    if not len(searches.user):
        return {}
    level = _level(clicks, found)
    is_back = (clicks.domain != SEARCH) & (clicks.source >= 0)
    is_credited = is_back & (clicks.at - searches.at[clicks.source] < CLICK_WINDOW)
    return {"cause": np.where(is_credited, np.where(level == RANKED, CLICK_UNEXPOSED, CLICK_EXPOSED), clicks.cause)}


def _level(events: Events, found: Lists) -> np.ndarray:
    """Stage that the source request gave to the event's item; -1 where it was clicked there."""
    is_item = found.item[events.source] == events.item[:, None]
    column = (is_item & (found.stage[events.source] <= RANKED)).argmax(axis=1)
    return np.where(found.is_clicked[events.source, column], -1, found.stage[events.source, column])


def _follow(plan: Plan, clicks: Events, rng: np.random.Generator) -> Events:
    """Details, favs and carts after clicks. Search credit is for clicks and pays, so they have no cause."""
    parts = []
    for kind, chance, mean in (
        (DETAIL, plan.shop.p_detail, 2 * SECOND),
        (FAV, plan.shop.p_fav, MINUTE),
        (CART, plan.shop.p_cart, 2 * MINUTE),
    ):
        rows = np.nonzero(rng.random(len(clicks.user)) < chance)[0]
        part = clicks.take(rows)
        wait = SECOND + rng.exponential(mean, len(rows)).astype(np.int64)
        parts.append(part.replace(at=part.at + wait, type=np.full(len(rows), kind), cause=np.full(len(rows), NONE)))
    return _concat(parts)


def _pays(plan: Plan, clicks: Events, searches: Requests, found: Lists, users: Users, rng: np.random.Generator) -> Events:
    """Pays after clicks: most within the hour, some after days, from a later visit; of those in search the request is then unknown."""
    chance = np.array([domain.p_pay for domain in plan.shop.domains])[clicks.domain] * ~users.is_bot[clicks.user]
    pays = clicks.take(np.nonzero(rng.random(len(clicks.user)) < chance)[0])
    n = len(pays.user)
    is_later = rng.random(n) < plan.shop.p_pay_later
    soon, later = _truncated(rng, n, 15 * MINUTE, 2 * HOUR), _truncated(rng, n, 2 * DAY, PAY_WINDOW - 2 * HOUR - HOUR)
    at = pays.at + MINUTE + np.where(is_later, 2 * HOUR + later, soon)
    pays = pays.replace(at=at, type=np.full(n, PAY), visit=np.where(is_later, -1, pays.visit), request=np.where(is_later, -1, pays.request))
    is_native = (pays.domain == SEARCH) & ~is_later
    is_credited = (pays.source >= 0) & (at - searches.at[pays.source] < PAY_WINDOW)
    level = _level(pays, found)
    cause = np.select([is_native, ~is_credited, level == -1, level == EXPOSED], [NATIVE, NONE, PAY_CLICKED, PAY_EXPOSED], PAY_UNEXPOSED)
    return pays.replace(cause=cause)


def _log(plan: Plan, events: Events, rng: np.random.Generator) -> Log:
    """The log: request ids lost, clicks doubled, deliveries late or repeated; what arrives after the last day is not in it."""
    shop = plan.shop
    n = len(events.user)
    is_lost = rng.random(n) < shop.lost_request_rate
    is_native = is_lost & (events.cause == NATIVE)
    by_item = np.where(events.type == PAY, PAY_CLICKED, CLICK_EXPOSED)  # without its request an event is known by user and item alone
    events = events.replace(request=np.where(is_lost, -1, events.request), cause=np.where(is_native, by_item, events.cause))
    again = np.nonzero((events.type == CLICK) & (rng.random(n) < shop.double_click_rate))[0]
    repeats = events.take(again)
    pause = SECOND + _truncated(rng, len(again), 2 * MINUTE, 29 * MINUTE)
    repeats = repeats.replace(at=repeats.at + pause, cause=np.full(len(again), NONE))
    events = _concat([events, repeats])
    is_repeat = np.arange(len(events.user)) >= n
    n = len(events.user)
    delay = SECOND + rng.exponential(45 * SECOND, n).astype(np.int64)
    late = rng.integers(DAY, 3 * DAY, n)
    available_at = events.at + np.where(rng.random(n) < shop.late_rate, late, delay)
    twice = np.nonzero(rng.random(n) < shop.redelivery_rate)[0]
    second = available_at[twice] + SECOND + rng.exponential(10 * MINUTE, len(twice)).astype(np.int64)
    number = np.concatenate([np.arange(n), twice])
    is_redelivered = np.concatenate([np.zeros(n, bool), second // DAY == available_at[twice] // DAY])
    available_at = np.concatenate([available_at, second])
    rows = np.nonzero(available_at < plan.num_days * DAY)[0]
    number = number[rows]
    return Log(events.take(number), number, available_at[rows], is_redelivered[rows], is_repeat[number])
