"""The simulated shop: `Shop` holds its rates and tastes, `Plan` the size of one simulation; no Spark in this folder."""

from dataclasses import dataclass, field
from datetime import date

SECOND = 1_000_000  # times are microseconds since the first day's midnight
MINUTE, HOUR, DAY = 60 * SECOND, 3600 * SECOND, 86_400 * SECOND
CLICK_WINDOW, PAY_WINDOW = DAY, 7 * DAY
SEARCH, REC, SHOP = range(3)


@dataclass(frozen=True, kw_only=True)
class Domain:
    """How people look and choose in one domain: p_click = bias(position) * preference, preference ~ exp(utility)."""

    bias_scale: float
    """Positions over which attention falls; bias = (1 + (position - 1) / bias_scale) ** -bias_decay."""
    bias_decay: float
    relevance: float
    """Weight of each word of the query that the item carries; there is no query outside search."""
    taste: float
    """Weight of the product of the user's and the item's taste vectors."""
    quality: float
    price: float
    """Weight of |log(price) - log(budget)|, subtracted: how much people mind the price here."""
    p_pay: float
    """Chance that a click ends in a pay."""


@dataclass(frozen=True, kw_only=True)
class Return:
    """Users who come back, outside the search that listed it, to one item of a search request."""

    chance: float
    """Chance for each search request with such a candidate, bots' left out."""
    of: str
    """Which candidate: exposed (and not clicked), unexposed (of stage ranked) or clicked."""
    mean_lag: int
    """Mean of the exponential time until then, cut to [min_lag, max_lag), microseconds."""
    max_lag: int
    min_lag: int = MINUTE
    is_click: bool = True
    """They click it in a list of rec or shop; else they buy it outright, from a later session, with no list at all."""


@dataclass(frozen=True, kw_only=True)
class Shop:
    """Every planted rate; where they come from: `jobs.sources.simulator`."""

    domains: tuple[Domain, Domain, Domain] = (
        # one column read from the top, by people who know what they want and compare prices
        Domain(bias_scale=1.0, bias_decay=0.8, relevance=0.6, taste=0.6, quality=0.4, price=0.6, p_pay=0.06),
        # an endless two-column feed at leisure: attention fades slowly, taste decides, price hardly matters
        Domain(bias_scale=12.0, bias_decay=1.0, relevance=0.0, taste=1.0, quality=0.3, price=0.15, p_pay=0.025),
        # a grid of one seller, seen at a glance by people who trust him: nearly flat, quality decides
        Domain(bias_scale=6.0, bias_decay=0.5, relevance=0.0, taste=0.5, quality=0.7, price=0.35, p_pay=0.05),
    )
    returns: tuple[Return, ...] = (
        Return(chance=0.30, of="exposed", mean_lag=5 * HOUR, max_lag=CLICK_WINDOW - 10 * MINUTE),
        Return(chance=0.175, of="unexposed", mean_lag=5 * HOUR, max_lag=CLICK_WINDOW - 10 * MINUTE),
        # four searches in ten have a click, so 0.05 per search
        Return(chance=0.13, of="clicked", mean_lag=8 * HOUR, max_lag=CLICK_WINDOW - 10 * MINUTE),
        Return(chance=0.05, of="exposed", mean_lag=2 * DAY, min_lag=CLICK_WINDOW + MINUTE, max_lag=6 * DAY),
        Return(chance=0.02, of="exposed", mean_lag=2 * DAY, max_lag=PAY_WINDOW, is_click=False),
        Return(chance=0.015, of="unexposed", mean_lag=2 * DAY, max_lag=PAY_WINDOW, is_click=False),
    )
    search_exposed: tuple[int, int] = (7, 13)
    """Length of a result page, uniform, both ends included."""
    ranked: int = 40
    """Candidates that enter the ranking stage of a search, exposed ones included."""
    pre_ranked: int = 5
    recalled: int = 5
    search_ctr: float = 0.05
    """Clicks per exposure in search; shared out inside each request by bias and utility."""
    browses_per_search: float = 0.43
    """Lists of rec or shop that users open with nothing in mind, per search request."""
    feed_clicks: float = 1.0
    """Clicks per list of rec or shop, the item that the user came back for not counted."""
    rec_share: float = 0.6
    """Share of rec among lists outside search; the others are shop."""
    rec_exposed: tuple[int, int] = (32, 8)
    """Items of the list's leaf category, and of one sibling category."""
    aside_utility: float = -1.5
    """How much less people want the sibling category's items than those they opened the list for."""
    shop_exposed: int = 36
    feed_unexposed: int = 10
    feed_fatigue: int = CLICK_WINDOW
    """Feeds leave out what the user's searches ranked so recently, unless the user came back for it."""
    leaf_items: int = 250
    """Items per leaf category; the number of categories follows from the number of items."""
    shops_per_leaf: int = 4
    queries_per_leaf: int = 200
    query_zipf: float = 1.0
    leaf_zipf: float = 0.7
    strict_share: float = 0.25
    """Share of the rarer half of queries that list only items with all their words: the few-result queries."""
    hard_queries_per_leaf: int = 40
    """A quarter of each type: question, alternative, negation, knowledge; asked only where `Plan.hard_share` is above 0."""
    hard_zipf: float = 0.7
    few_found: int = 6
    """Most candidates that a question or knowledge query finds, of another leaf; uniform from 0."""
    hard_clicks: float = 0.1
    """Clicks on the lists of hard queries, relative to those on others."""
    dislike: float = 3.0
    """How much less people want an item with the very value that their query excludes."""
    p_detail: float = 0.5
    p_fav: float = 0.03
    p_cart: float = 0.08
    p_pay_later: float = 0.3
    """Share of pays that wait for days instead of minutes; those of search no longer name their request."""
    late_rate: float = 0.01
    """Share of events that arrive one to three days late; the others arrive within seconds to minutes."""
    double_click_rate: float = 0.01
    """Share of clicks clicked again, as another event, within 30 minutes."""
    redelivery_rate: float = 0.004
    """Share of events that the log holds twice, under one event_id."""
    lost_request_rate: float = 0.02
    """Share of events whose request_id was lost."""
    repeated_candidate_rate: float = 0.005
    """Share of search requests that list an exposed item a second time, as recalled."""
    price_change_rate: float = 0.04
    """Chance per item and day of another price, from that midnight."""
    off_shelf_rate: float = 0.005
    """Chance per item and day to leave the shelf, for one to four days."""
    stale_index_rate: float = 0.2
    """Share of lists drawn from an index that still holds the items off shelf."""
    users_per_bot: int = 500
    """One bot for so many users, and at least one: it asks `bot_activity` times as much and clicks evenly at random."""
    bot_activity: float = 6.0
    hot_user_activity: float = 5.0
    """How much more than the mean the first user asks."""
    hot_item_quality: float = 7.0
    """Quality of the first item, in the most popular category; the others' are standard normal."""
    hour_weights: tuple[float, ...] = field(default=(3, 2, 1, 1, 1, 1, 2, 3, 4, 5, 6, 6, 7, 6, 5, 5, 5, 6, 7, 9, 11, 12, 10, 6))
    """When in the day visits begin."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One simulation: equal plans give equal rows."""

    first: date
    num_days: int
    seed: int = 7
    users: int = 200
    items: int = 5000
    searches_per_user_day: float = 3.0
    hard_share: float = 0.0
    """Share of searches with a hard query; 0 leaves every row as it would be without such queries."""
    reformulate_share: float = 0.4
    """Share of people's hard searches that they put plainly right after, and then click a true product."""
    shop: Shop = Shop()

    @property
    def users_per_chunk(self) -> int:
        """Users simulated together, with one generator: about 2,000 search requests, under 300 MB at the peak, whatever the plan."""
        return min(256, max(1, round(2000 / (self.num_days * self.searches_per_user_day))))

    @property
    def num_chunks(self) -> int:
        return -(-self.users // self.users_per_chunk)

    @property
    def num_leaves(self) -> int:
        return max(4, self.items // self.shop.leaf_items)
