"""Searches with hard queries, and users who then say plainly what they meant and find it."""

from dataclasses import replace

import numpy as np

from jobs.sources._shop import DAY, SECOND, Plan
from jobs.sources._shop.catalogue import make_catalogue, zipf
from jobs.sources._shop.hard import make_hard_queries, true_slots
from jobs.sources._shop.lists import EXPOSED, Lists, Requests, Users


def ask_hard(plan: Plan, users: Users, searches: Requests, rng: np.random.Generator) -> Requests:
    """The searches, `hard_share` of them with a hard query of their leaf; after them the searches that say the same plainly.

    A share `reformulate_share` of people's hard searches is followed by its plain query 15 s to 5 minutes later, in the same visit.
    """
    hard, n = make_hard_queries(plan), len(searches.user)
    rank = np.searchsorted(zipf(plan.shop.hard_queries_per_leaf, plan.shop.hard_zipf), rng.random(n))
    is_hard = rng.random(n) < plan.hard_share
    number = np.where(is_hard, searches.leaf * plan.shop.hard_queries_per_leaf + rank, -1)
    leaf, query = np.where(is_hard, [hard.listed_leaf[number], hard.listed_query[number]], [searches.leaf, searches.query])
    is_reworded = is_hard & ~users.is_bot[searches.user] & (rng.random(n) < plan.reformulate_share)
    at = searches.at + 15 * SECOND + np.minimum(rng.exponential(45, n) * SECOND, 285 * SECOND).astype(np.int64)
    rows = np.nonzero(is_reworded & (at < plan.num_days * DAY))[0]
    meant = number[rows]
    again = replace(searches.take(rows), at=at[rows], leaf=hard.leaf[meant], query=hard.plain[meant], rewords=meant)
    asked = replace(searches, leaf=leaf, query=query, hard=number)
    return Requests(**{name: np.concatenate([values, getattr(again, name)]) for name, values in vars(asked).items()})


def find_what_was_meant(plan: Plan, searches: Requests, found: Lists, rng: np.random.Generator) -> tuple[Requests, Lists]:
    """The same, but that who put a hard query plainly clicks what he likes best of its true products on the page, if there is one."""
    hard, catalogue = make_hard_queries(plan), make_catalogue(plan)
    rows = np.nonzero(searches.rewords >= 0)[0]
    meant = searches.rewords[rows]
    is_true = true_slots(catalogue, hard.leaf[meant], hard.plain[meant], hard.facet[meant], hard.value[meant])
    item, is_shown = found.item[rows], found.stage[rows] == EXPOSED
    is_wanted = np.take_along_axis(is_true, item // catalogue.num_leaves, axis=1) & is_shown
    liking = np.where(is_wanted, np.log(found.preference[rows] + 1e-12) + rng.gumbel(size=item.shape), -np.inf)
    has_one = is_wanted.any(axis=1)
    rows, column = rows[has_one], liking.argmax(axis=1)[has_one]
    sought, preference, p_click, is_clicked = (
        values.copy() for values in (searches.sought, found.preference, found.p_click, found.is_clicked)
    )
    sought[rows] = found.item[rows, column]
    preference[rows, column] = p_click[rows, column] = 1
    is_clicked[rows, column] = True
    return replace(searches, sought=sought), replace(found, preference=preference, p_click=p_click, is_clicked=is_clicked)
