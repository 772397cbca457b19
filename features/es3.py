"""Parameters of ES3, the entire-space samples of UniScale (arXiv 2603.24226). No Spark here.

Source of a number: [S] a detailed second-hand note of the paper, [OC] our choice where the paper is silent.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Params:
    """Everything that ES3 leaves to be chosen; another value gives other rows, so raise the version of the contracts with it."""

    unexposed_per_exposed: int = 2
    """Unexposed candidates drawn for each exposed one, where the request has them. [S]: samples triple at this step."""
    seed: int = 17
    """Seed of the draw, any integer; another one redraws every request. [OC]"""
    ranking_stages: tuple[str, ...] = ("ranked", "exposed")
    """Stages whose unexposed candidates may be drawn: those that entered ranking. [OC]"""
    click_window_s: int = 24 * 3600
    """A click is credited to requests of [0, this) seconds before it. [OC]"""
    pay_window_s: int = 7 * 24 * 3600
    """A pay is credited to requests of [0, this) seconds before it. [OC]"""
    duplicate_window_s: int = 30 * 60
    """Width in seconds of the fixed buckets of event_at in which a repeated event without an order is a duplicate. [OC]"""
    label_horizon_days: int = 8
    """Labels count when available within [0, this) days after requested_at: the longest window and a day of late arrival. [OC]"""
    num_negatives: int = 19
    """Most negatives of a pseudo-request, a count: lists twice as long as the average exposed list of 10. [OC]"""
    min_negatives: int = 3
    """Fewest negatives of a pseudo-request, a count; with fewer it is widened, then dropped. [OC]"""
    widen_s: int = 30 * 60
    """Negatives may come from the user's requests of the same domain this many seconds before and after. [OC]"""
    min_similarity: float = 0.55
    """Least cosine between a negative and the clicked item, in [-1, 1]. [OC]"""
    user_history_days: int = 28
    """Query tier 1 looks this many days back for a query of the user that led to the item. [OC]: a trailing window of 28 days."""
    stats_min_clicks: int = 3
    """Query tier 2 takes queries with at least this many credited clicks on the item in 28 days, a count. [OC]"""
    stats_top: int = 5
    """Query tier 2 draws among this many queries with the most clicks on the item, a count. [OC]"""
    nearest_min_cosine: float = 0.60
    """Query tier 3 takes the nearest query only at or above this cosine, in [-1, 1]. [OC]"""
    max_per_user_day: int = 20
    """Pseudo-requests of one user and day, at most. [OC]"""
    max_per_item_day: int = 200
    """Pseudo-requests around one clicked item and day, at most, so that a bestseller does not fill the table. [OC]"""
    pseudo_share: float = 1.0
    """Share of the clicks outside search that may become pseudo-requests, in (0, 1]; lower it where they outnumber searches. [OC]"""
