"""Nearest items of queries, exactly or by FAISS, and how good lists of items are: hit rate, good rate, nDCG.

Lists of any retriever are measured alike: a matrix of places in the catalogue, best first, -1 where a list is shorter.
"""

# Q queries, I items, K places of a list, D width, T pairs of truth
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

AT_ONCE = 1024
"""Queries scored at once: with a million items 4 GB."""
LENGTH, FIRST = 50, 10
"""Of a list for the hit rate, and of its beginning that a person sees."""
ENOUGH = 8
"""Good items among the first 10 that make a list good."""
MEASURES = ("hr@50", "good_rate@10", "good_lists@10", "ndcg@10")


def nearest(queries_QD: Tensor, items_ID: Tensor, k: int = LENGTH) -> Tensor:
    """places_QK of the items with the largest inner products, all of them compared. Ties: the earlier item first."""
    k = min(k, len(items_ID))
    parts = [first(part @ items_ID.T, k) for part in queries_QD.split(AT_ONCE)]
    return torch.cat(parts) if parts else torch.empty(0, k, dtype=torch.int64)


def first(scores_QI: Tensor, k: int) -> Tensor:
    """Places of the k largest, ties by place: topk alone keeps any of those that equal the last one."""
    best_QK = scores_QI.topk(k, dim=1).values
    is_above_QI = scores_QI > best_QK[:, -1:]
    is_last_QI = scores_QI == best_QK[:, -1:]
    room_Q1 = k - is_above_QI.sum(1, keepdim=True)
    kept_QK = (is_above_QI | (is_last_QI & (is_last_QI.cumsum(1) <= room_Q1))).nonzero()[:, 1].view(-1, k)  # by place
    order_QK = scores_QI.gather(1, kept_QK).argsort(dim=1, descending=True, stable=True)
    return kept_QK.gather(1, order_QK)


def nearest_by_faiss(queries_QD: Tensor, items_ID: Tensor, k: int = LENGTH) -> Tensor:
    """As `nearest`, through an index of FAISS: flat, so exact too; what serves a large catalogue is another index of the same kind."""
    import faiss

    index = faiss.IndexFlatIP(items_ID.shape[1])
    index.add(items_ID.float().cpu().numpy())
    _, places_QK = index.search(queries_QD.float().cpu().numpy(), min(k, len(items_ID)))
    return torch.from_numpy(places_QK)


def keys(query: Tensor, item: Tensor, num_items: int) -> Tensor:
    """One number for each (query, item)."""
    return query * num_items + item


def gains(places_QK: Tensor, truth_T: Tensor, gain_T: Tensor, num_items: int) -> Tensor:
    """gain_QK of each place of the lists by `truth_T`, sorted keys of pairs; 0 for a pair that is not among them."""
    if not len(truth_T):
        return torch.zeros(places_QK.shape)
    asked_QK = keys(torch.arange(len(places_QK))[:, None], places_QK, num_items)
    at_QK = torch.searchsorted(truth_T, asked_QK).clamp(max=len(truth_T) - 1)
    is_known_QK = (truth_T[at_QK] == asked_QK) & (places_QK >= 0)
    return torch.where(is_known_QK, gain_T[at_QK].float(), torch.zeros(()))


def by_query(places_QK: Tensor, query_T: Tensor, item_T: Tensor, gain_T: Tensor, num_items: int, good: float) -> dict[str, Tensor]:
    """Each measure of each query; NaN for a query that the truth says nothing of, or nothing good.

    hr@50: share of a query's good items (gain >= good) among the first 50, of at most 50. good_rate@10: share of the first 10 places that
    are good. good_lists@10: whether 8 of them are, NaN where there are not so many. ndcg@10: sum of gain / log2(1 + place) over the first
    10, against the best order that the truth allows.
    """
    order_T = keys(query_T, item_T, num_items).argsort()
    truth_T, gain_T = keys(query_T, item_T, num_items)[order_T], gain_T[order_T].float()
    found_QK = gains(places_QK, truth_T, gain_T, num_items)
    num_good_Q = torch.zeros(len(places_QK)).index_add(0, query_T[order_T], (gain_T >= good).float())
    discount_K = 1 / torch.log2(torch.arange(2, FIRST + 2).float())
    first_QK = found_QK[:, :FIRST]
    num_first_Q = (first_QK >= good).sum(1)
    dcg_Q = (first_QK * discount_K[: first_QK.shape[1]]).sum(1)
    return {
        "hr@50": (found_QK[:, :LENGTH] >= good).sum(1) / num_good_Q.clamp(max=LENGTH),
        "good_rate@10": torch.where(num_good_Q > 0, num_first_Q / FIRST, torch.nan),
        "good_lists@10": torch.where(num_good_Q >= ENOUGH, (num_first_Q >= ENOUGH).float(), torch.nan),
        "ndcg@10": dcg_Q / _best(query_T[order_T], gain_T, len(places_QK), discount_K),
    }


def _best(query_T: Tensor, gain_T: Tensor, num_queries: int, discount_K: Tensor) -> Tensor:
    """The greatest DCG of each query."""
    order_T = gain_T.argsort(descending=True, stable=True)
    order_T = order_T[query_T[order_T].argsort(stable=True)]
    query_T, gain_T = query_T[order_T], gain_T[order_T]
    first_Q = torch.searchsorted(query_T, torch.arange(num_queries))
    place_T = torch.arange(len(query_T)) - first_Q[query_T]
    is_first_T = place_T < len(discount_K)
    return torch.zeros(num_queries).index_add(0, query_T[is_first_T], gain_T[is_first_T] * discount_K[place_T[is_first_T]])


def means(values: Mapping[str, Tensor], groups: Mapping[str, Sequence[bool] | Tensor]) -> dict[str, dict[str, float | None]]:
    """By group the mean of each measure over its queries that could be measured, and how many these are; no group without one.

    None for a measure that none of them has.
    """
    found: dict[str, dict[str, float | None]] = {}
    for group, is_in in groups.items():
        inside = {name: value[torch.as_tensor(is_in, dtype=torch.bool)] for name, value in values.items()}
        known = {name: value[value.isfinite()].double() for name, value in inside.items()}
        queries = max(len(value) for value in known.values())
        if queries:
            found[group] = {"queries": queries} | {name: float(value.mean()) if len(value) else None for name, value in known.items()}
    return found
