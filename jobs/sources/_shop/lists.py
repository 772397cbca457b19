"""Result lists: what users ask for, which candidates enter, how they are ranked, cut, seen and clicked. Flat numpy, no loops over users."""

from dataclasses import dataclass

import numpy as np

from jobs.sources._shop import DAY, MINUTE, REC, SEARCH, SECOND, SHOP, Plan
from jobs.sources._shop.catalogue import TASTES, Catalogue, relevance
from jobs.sources._shop.hard import is_unwanted, make_hard_queries, named_facets

EXPOSED, RANKED, PRE_RANKED, RECALLED, ABSENT = range(5)
_SESSIONS = 3  # visits of a user-day
_POOL = 120  # best items of a leaf that a feed looks at before it leaves out those just listed
_NEVER = np.float32(-1e9)


@dataclass(frozen=True, eq=False)
class Users:
    """Users of a chunk: numbers, then latent properties."""

    number: np.ndarray
    is_bot: np.ndarray
    activity: np.ndarray
    taste: np.ndarray
    log_budget: np.ndarray
    leaves: np.ndarray
    """(user, 3) favourite leaf categories, the dearest first."""
    starts: np.ndarray
    """(user, day, visit) microseconds since midnight."""
    intents: np.ndarray
    """(user, day, visit) leaf that the visit is about."""


@dataclass(frozen=True, eq=False)
class Requests:
    """Requests of a chunk, before their lists: indices into Users, Catalogue and, for `source`, the chunk's search requests."""

    user: np.ndarray
    at: np.ndarray
    visit: np.ndarray
    domain: np.ndarray
    leaf: np.ndarray
    query: np.ndarray
    """Query of the leaf, -1 outside search."""
    shop: np.ndarray
    """Seller whose page it is, -1 outside the domain shop."""
    sought: np.ndarray
    """Item that the user comes back for, or finds once he put a hard query plainly, -1 if none."""
    source: np.ndarray
    """Search request that made him come back, -1 if none."""
    hard: np.ndarray
    """Number of the hard query asked, -1 for a plain one; leaf and query are then what the engine makes of it."""
    rewords: np.ndarray
    """Number of the hard query that this plain one stands for, -1 if none."""

    def take(self, rows: np.ndarray) -> "Requests":
        return Requests(**{name: values[rows] for name, values in vars(self).items()})


@dataclass(frozen=True, eq=False)
class Lists:
    """Candidates of requests, (request, column) in the order of the page, then of the ranking; `stage` ABSENT past the end."""

    item: np.ndarray
    stage: np.ndarray
    score: np.ndarray
    propensity: np.ndarray
    """Chance of being shown that the ranking stage logged; nan where it is not known."""
    preference: np.ndarray
    """True chance of a click once looked at."""
    p_click: np.ndarray
    """True chance of a click, 0 when not shown."""
    is_clicked: np.ndarray


def make_users(plan: Plan, catalogue: Catalogue, chunk: int, rng: np.random.Generator) -> Users:
    """Users of a chunk. The first user of all is the hot one; bots are spread evenly."""
    shop, n = plan.shop, min(plan.users_per_chunk, plan.users - chunk * plan.users_per_chunk)
    number = chunk * plan.users_per_chunk + np.arange(n)
    bots = max(1, plan.users // shop.users_per_bot)
    every = max(plan.users // bots, 2)
    is_bot = (number % every == every // 2) & (number // every < bots)
    activity = np.where(is_bot, shop.bot_activity, rng.gamma(3.0, 1 / 3, n))
    activity[number == 0] = shop.hot_user_activity
    leaves = np.searchsorted(catalogue.leaf_chances, rng.random((n, 3)))
    visits = (n, plan.num_days, _SESSIONS)
    hours = np.cumsum(shop.hour_weights) / np.sum(shop.hour_weights)
    starts = (np.searchsorted(hours, rng.random(visits)) * 3600 + rng.integers(0, 3600, visits)) * SECOND
    intents = _pick_leaf(catalogue, leaves[:, None, None], rng.random(visits), rng.random(visits))
    taste = rng.standard_normal((n, TASTES), np.float32)
    return Users(number, is_bot, activity, taste, rng.normal(8.0, 0.5, n).astype(np.float32), leaves, starts, intents)


def _pick_leaf(catalogue: Catalogue, leaves: np.ndarray, draw: np.ndarray, other: np.ndarray) -> np.ndarray:
    """A favourite (40, 25, 15 %) or, for the rest, any leaf by popularity."""
    place = np.searchsorted((0.40, 0.65, 0.80), draw)
    favourite = np.take_along_axis(np.broadcast_to(leaves, (*draw.shape, 3)), np.minimum(place, 2)[..., None], -1)[..., 0]
    return np.where(place < 3, favourite, np.searchsorted(catalogue.leaf_chances, other))


def make_visits(plan: Plan, users: Users, catalogue: Catalogue, per_user_day: float, domain: int, rng: np.random.Generator) -> Requests:
    """Requests made of the user's own accord, Poisson by user and day, within visits. `domain` SEARCH, or REC for both feeds."""
    counts = rng.poisson(per_user_day * users.activity[:, None], (len(users.number), plan.num_days))
    user, day = (np.repeat(index.ravel(), counts.ravel()) for index in np.indices(counts.shape))
    n = len(user)
    visit = rng.integers(0, _SESSIONS, n)
    at = day * DAY + users.starts[user, day, visit] + (rng.exponential(8 * MINUTE, n)).astype(np.int64)
    leaf = _pick_leaf(catalogue, users.leaves[user], rng.random(n), rng.random(n))
    if domain == SEARCH:  # 70 % of a visit's searches are about one thing; feeds follow the long-run taste
        leaf = np.where(rng.random(n) < 0.7, users.intents[user, day, visit], leaf)
    query = np.searchsorted(catalogue.query_chances, rng.random(n))
    is_shop = rng.random(n) >= plan.shop.rec_share
    none = np.full(n, -1)
    requests = Requests(
        user=user,
        at=at,
        visit=day * _SESSIONS + visit,
        domain=np.full(n, SEARCH) if domain == SEARCH else np.where(is_shop, SHOP, REC),
        leaf=leaf,
        query=query if domain == SEARCH else none,
        shop=none if domain == SEARCH else np.where(is_shop, rng.integers(0, plan.shop.shops_per_leaf, n), -1),
        sought=none,
        source=none,
        hard=none,
        rewords=none,
    )
    return requests.take(np.nonzero(at < plan.num_days * DAY)[0])


def search_lists(plan: Plan, users: Users, catalogue: Catalogue, requests: Requests, rng: np.random.Generator) -> Lists:
    """Lists of search requests: recall by words and quality, ranking by estimated utility, the last place of the page explored."""
    shop, n, hard = plan.shop, len(requests.user), make_hard_queries(plan)
    width, rows = shop.ranked + shop.pre_ranked + shop.recalled, np.arange(n)[:, None]
    named = named_facets(hard, catalogue, requests.leaf, requests.query, requests.hard)
    match, is_full = relevance(catalogue, requests.leaf, named)
    recall = match + np.float32(0.6) * catalogue.quality[requests.leaf] + np.float32(0.5) * _normal(rng, match.shape)
    is_strict = catalogue.is_strict[requests.leaf, requests.query]
    recall[~_is_listed(plan, catalogue, requests, rng)] = _NEVER
    recall[is_strict[:, None] & ~is_full] -= 100
    slot = _top(recall, min(width, recall.shape[1]))
    recall = recall[rows, slot]
    size = np.maximum((recall > -50).sum(axis=1), recall[:, 0] > _NEVER / 2)  # the nearest item where none has all the words
    size = np.minimum(size, hard.most[requests.hard])
    item = slot * catalogue.num_leaves + requests.leaf[:, None]
    utility = _utility(plan, users, catalogue, requests, item) + np.float32(shop.domains[SEARCH].relevance) * match[rows, slot]

    order = np.arange(item.shape[1])
    in_ranking = np.minimum(size, shop.ranked)
    score = np.float32(0.7) * utility + np.float32(0.7) * _normal(rng, utility.shape)
    key = np.where(order < in_ranking[:, None], -score, 1e6 + order)
    ranking = np.argsort(key, axis=1)
    shown = np.minimum(rng.integers(shop.search_exposed[0], shop.search_exposed[1] + 1, n), in_ranking)
    # one place is given to a ranked candidate past the cut, uniformly, anywhere on the page: every ranked one has a known chance
    explored = np.maximum(shown - 1 + (rng.random(n) * (in_ranking - shown + 1)).astype(np.int64), 0)
    place = (rng.random(n) * shown).astype(np.int64)
    page = np.broadcast_to(order, item.shape).astype(np.float64)
    page[np.arange(n), explored] = np.where(shown > 0, place - 0.5, explored)
    page = np.argsort(page, axis=1)
    columns = np.take_along_axis(ranking, page, axis=1)
    stage = np.select(
        [
            order < shown[:, None],
            order < in_ranking[:, None],
            order < np.minimum(size, shop.ranked + shop.pre_ranked)[:, None],
            order < size[:, None],
        ],
        [EXPOSED, RANKED, PRE_RANKED, RECALLED],
        ABSENT,
    )
    lottery = 1 / np.maximum(in_ranking - shown + 1, 1)
    propensity = np.where(page < shown[:, None] - 1, 1.0, np.where(page < in_ranking[:, None], lottery[:, None], 0.0))
    is_bot = users.is_bot[requests.user]
    clicks = shop.search_ctr * shown * hard.clicks[requests.hard]
    utility -= np.float32(shop.dislike) * is_unwanted(hard, catalogue, requests.hard, item)  # the engine does not know
    preference, p_click = _attention(plan, requests.domain, utility[rows, columns], stage == EXPOSED, clicks, is_bot)
    is_clicked = rng.random(p_click.shape, np.float32) < p_click
    shown_score = np.where(stage <= RANKED, score[rows, columns], recall[rows, columns])
    return Lists(item[rows, columns], stage, shown_score, propensity, preference, p_click, is_clicked)


def feed_lists(
    plan: Plan, users: Users, catalogue: Catalogue, requests: Requests, searches: Requests, found: Lists, rng: np.random.Generator
) -> Lists:
    """Lists of rec and shop: items of one leaf (of one seller in shop), in rec a few of a sibling leaf, and the item sought."""
    shop, n, leaves = plan.shop, len(requests.user), catalogue.num_leaves
    is_rec = requests.domain == REC
    main, aside = shop.rec_exposed
    pool = np.float32(0.5) * catalogue.quality[requests.leaf] + _normal(rng, (n, catalogue.is_item.shape[1]))
    pool += np.float32(0.7) * np.einsum("nk,npk->np", users.taste[requests.user], catalogue.taste[requests.leaf])
    is_there = _is_listed(plan, catalogue, requests, rng)
    is_there &= is_rec[:, None] | (catalogue.shop[requests.leaf] == requests.shop[:, None])
    pool[~is_there] = _NEVER
    slot = _top(pool, min(_POOL, pool.shape[1]))
    pool = np.take_along_axis(pool, slot, axis=1)
    item = slot * leaves + requests.leaf[:, None]
    is_fresh = (pool > _NEVER / 2) & ~_is_recent(plan, requests, item, searches, found) & (item != requests.sought[:, None])
    item, pool, size = _front(item, pool, is_fresh, shop.shop_exposed + shop.feed_unexposed)
    shown = np.minimum(np.where(is_rec, main, shop.shop_exposed), size)

    sibling = catalogue.siblings(requests.leaf, rng.random(n))
    step = rng.integers(0, catalogue.is_item.shape[1], n)[:, None] + 7 * np.arange(aside)  # 7 apart: distinct for any leaf of 56 or more
    slot = step % catalogue.is_item.shape[1]
    beside = slot * leaves + sibling[:, None]
    day = _day(requests.at)[:, None]
    is_beside = (
        (is_rec & (sibling != requests.leaf))[:, None]
        & catalogue.is_item[sibling[:, None], slot]
        & catalogue.is_on_shelf[day, sibling[:, None], slot]
    )
    is_beside &= ~_is_recent(plan, requests, beside, searches, found)

    order = np.arange(item.shape[1])
    is_sought = requests.sought[:, None] >= 0
    key = np.where(order < shown[:, None], order, np.where(order < size[:, None], 1000 + order, 1e6))
    beside_key = np.where(is_beside, rng.random(beside.shape) * main, 1e6)
    count = shown + is_beside.sum(axis=1) + is_sought[:, 0]
    sought_key = np.where(is_sought, -1.0, 1e6)  # in front for now
    columns = np.argsort(key := np.hstack([sought_key, key, beside_key]), axis=1, kind="stable")
    item = np.take_along_axis(np.hstack([requests.sought[:, None], item, beside]), columns, axis=1)
    key = np.take_along_axis(key, columns, axis=1)
    scored = np.take_along_axis(np.hstack([np.zeros((n, 1)), pool, np.zeros(beside.shape)]), columns, axis=1)
    stage = np.where(np.arange(item.shape[1]) < count[:, None], EXPOSED, np.where(key < 1e6, RANKED, ABSENT))
    place = _place_by_bias(plan, requests, count, rng)
    page = np.broadcast_to(np.arange(item.shape[1]), item.shape).astype(np.float64)
    page[:, 0] = np.where(is_sought[:, 0], place + 0.5, 0)
    page = np.argsort(page, axis=1)
    item, scored, stage = (np.take_along_axis(values, page, axis=1) for values in (item, scored, stage))

    item = np.maximum(item, 0)
    is_sought = (item == requests.sought[:, None]) & (stage == EXPOSED)
    utility = _utility(plan, users, catalogue, requests, item)
    utility += np.float32(shop.aside_utility) * (item % leaves != requests.leaf[:, None])
    clicks = np.full(n, shop.feed_clicks)
    preference, p_click = _attention(plan, requests.domain, utility, (stage == EXPOSED) & ~is_sought, clicks, users.is_bot[requests.user])
    is_clicked = rng.random(p_click.shape, np.float32) < p_click
    preference, p_click, is_clicked = np.where(is_sought, 1, preference), np.where(is_sought, 1, p_click), is_clicked | is_sought
    return Lists(item, stage, scored, np.full(item.shape, np.nan), preference, p_click, is_clicked)


def bias(plan: Plan, domain: np.ndarray, width: int) -> np.ndarray:
    """(requests, width) chance that a position is looked at, 1 for the first."""
    scale, decay = (np.array([getattr(d, name) for d in plan.shop.domains])[domain][:, None] for name in ("bias_scale", "bias_decay"))
    return (1 + np.arange(width) / scale) ** -decay


def _attention(
    plan: Plan, domain: np.ndarray, utility: np.ndarray, is_shown: np.ndarray, clicks: np.ndarray, is_bot: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """preference = min(1, clicks * exp(utility) / sum of bias * exp(utility) over what is shown); p_click = bias * preference.

    So a list brings `clicks` on average, whatever its length and order, and they go where attention and utility are.
    A bot has neither: each exposure has the same chance.
    """
    seen = np.where(is_bot[:, None], 1.0, bias(plan, domain, utility.shape[1]))
    weight = np.where(is_bot[:, None], 1.0, np.exp(utility - utility.max(axis=1, initial=0, keepdims=True)))
    attention = np.sum(seen * weight * is_shown, axis=1)
    preference = np.minimum(1.0, weight * (clicks / np.maximum(attention, 1e-12))[:, None])
    return preference, np.where(is_shown, seen * preference, 0.0)


def _utility(plan: Plan, users: Users, catalogue: Catalogue, requests: Requests, item: np.ndarray) -> np.ndarray:
    """Taste, quality and price by the domain's weights; the words of the query come on top."""
    slot, leaf = np.divmod(item, catalogue.num_leaves)
    taste, quality, price = (
        np.array([getattr(d, name) for d in plan.shop.domains], np.float32)[requests.domain][:, None]
        for name in ("taste", "quality", "price")
    )
    log_cents = np.log(catalogue.cents[_day(requests.at)[:, None], leaf, slot].astype(np.float32))
    own = np.einsum("nk,nck->nc", users.taste[requests.user], catalogue.taste[leaf, slot])
    return taste * own + quality * catalogue.quality[leaf, slot] - price * np.abs(log_cents - users.log_budget[requests.user, None])


def _is_listed(plan: Plan, catalogue: Catalogue, requests: Requests, rng: np.random.Generator) -> np.ndarray:
    """(requests, slots) items that may be listed: those on the shelf; all of the leaf where the index is stale."""
    is_stale = rng.random(len(requests.user)) < plan.shop.stale_index_rate
    return catalogue.is_item[requests.leaf] & (catalogue.is_on_shelf[_day(requests.at), requests.leaf] | is_stale[:, None])


def _is_recent(plan: Plan, requests: Requests, item: np.ndarray, searches: Requests, found: Lists) -> np.ndarray:
    """Whether the user's searches ranked the item within `feed_fatigue` before the request."""
    if not len(searches.user):
        return np.zeros(item.shape, bool)
    span, items = np.int64(plan.num_days * DAY // SECOND), np.int64(plan.items)  # seconds: microseconds would not fit beside user and item
    is_ranked = found.stage <= RANKED
    pair = searches.user[:, None] * items + found.item
    listed = np.sort((pair * span + searches.at[:, None] // SECOND)[is_ranked])
    wanted = (requests.user[:, None] * items + item) * span + requests.at[:, None] // SECOND
    before = np.searchsorted(listed, wanted) - 1
    latest = listed[np.maximum(before, 0)]
    return (before >= 0) & (latest // span == wanted // span) & (wanted - latest <= plan.shop.feed_fatigue // SECOND)


def _place_by_bias(plan: Plan, requests: Requests, count: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Place from 0 of the item sought, with chances as the domain's bias: that is where one that was clicked is found."""
    width = int(count.max(initial=1))
    chances = np.cumsum(bias(plan, requests.domain, width) * (np.arange(width) < count[:, None]), axis=1)
    return np.sum(chances <= rng.random(len(count))[:, None] * chances[:, -1:], axis=1)


def _front(item: np.ndarray, score: np.ndarray, is_kept: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The first `width` kept columns of each row, and how many there are."""
    columns = np.argsort(~is_kept, axis=1, kind="stable")[:, :width]
    size = np.minimum(is_kept.sum(axis=1), width)
    return np.take_along_axis(item, columns, axis=1), np.take_along_axis(score, columns, axis=1), size


def _top(score: np.ndarray, width: int) -> np.ndarray:
    """Columns of the `width` highest scores, the highest first."""
    columns = np.argpartition(-score, width - 1, axis=1)[:, :width]
    order = np.argsort(-np.take_along_axis(score, columns, axis=1), axis=1)
    return np.take_along_axis(columns, order, axis=1)


def _normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.standard_normal(shape, np.float32)


def _day(at: np.ndarray) -> np.ndarray:
    return at // DAY
