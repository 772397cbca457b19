"""Measures of rankers: AUC, AUC within groups, hit rate, reciprocal rank, calibration. Exact with ties, no loops over rows.

Ties are as good as a coin: items of equal score stand in every order equally often, and a measure is its mean over these orders.
So a constant score gives AUC 0.5 and the hit rate of a random page, never 0 or 1. NaN where nothing can be measured.
"""

# N rows in any order, M rows with a place among them, B blocks of equal score within a group, C groups
from typing import NamedTuple

import torch
from torch import Tensor


class _Blocks(NamedTuple):
    """Runs of equal score within a group, groups ascending, best score first."""

    group_B: Tensor
    num_B: Tensor
    """Rows of the block."""
    num_pos_B: Tensor
    above_B: Tensor
    """Rows of the group with a better score."""
    pos_above_B: Tensor


def auc(scores_N: Tensor, labels_N: Tensor) -> float:
    """Share of pairs (positive, negative) in which the positive has the better score; a tie counts half."""
    wins_C, pairs_C, _ = _pairs(scores_N, labels_N, torch.zeros_like(labels_N, dtype=torch.int64))
    return _ratio(wins_C.sum(), pairs_C.sum())


def gauc(scores_N: Tensor, labels_N: Tensor, groups_N: Tensor) -> float:
    """Mean AUC of the groups, weighted by their rows (impressions); groups without both labels are left out."""
    wins_C, pairs_C, num_C = _pairs(scores_N, labels_N, groups_N)
    is_mixed_C = pairs_C > 0
    aucs_C = wins_C[is_mixed_C] / pairs_C[is_mixed_C]
    return _ratio((aucs_C * num_C[is_mixed_C]).sum(), num_C[is_mixed_C].sum())


def hit_rate(scores_N: Tensor, labels_N: Tensor, groups_N: Tensor, k: int = 5) -> float:
    """Share of the groups with a positive whose best positive is among the first k."""
    _, place_M, chance_M, num_groups = _best_positive(scores_N, labels_N, groups_N)
    return _ratio(chance_M[place_M <= k].sum(), num_groups)


def mrr(scores_N: Tensor, labels_N: Tensor, groups_N: Tensor) -> float:
    """Mean of 1 / place of the best positive, over the groups with a positive."""
    _, place_M, chance_M, num_groups = _best_positive(scores_N, labels_N, groups_N)
    return _ratio((chance_M / place_M).sum(), num_groups)


def calibration(chances_N: Tensor, labels_N: Tensor, num_buckets: int = 10) -> dict[str, float | list[dict[str, float]]]:
    """`ratio`: sum of chances / sum of labels; `buckets`: rows in order of chance in equal parts: n, mean p, share of positives y."""
    order_N = torch.argsort(chances_N.double(), stable=True)
    parts = [part for part in order_N.tensor_split(num_buckets) if len(part)]
    buckets = [{"n": len(part), "p": _mean(chances_N[part]), "y": _mean(labels_N[part])} for part in parts]
    return {"ratio": _ratio(chances_N.double().sum(), labels_N.double().sum()), "buckets": buckets}


def _mean(values_N: Tensor) -> float:
    return float(values_N.double().mean())


def _ratio(part: Tensor, whole: Tensor | int) -> float:
    return float(part) / float(whole) if whole else float("nan")


def _blocks(scores_N: Tensor, labels_N: Tensor, groups_N: Tensor) -> _Blocks:
    if scores_N.isnan().any():
        raise ValueError(f"{int(scores_N.isnan().sum())} of {len(scores_N)} scores are NaN, which has no place in an order; mend the model")
    by_score_N = torch.argsort(scores_N, descending=True, stable=True)
    order_N = by_score_N[torch.argsort(groups_N[by_score_N], stable=True)]
    score_N, is_pos_N, group_N = scores_N[order_N], (labels_N[order_N] > 0).long(), groups_N[order_N]
    is_first_N = torch.ones_like(is_pos_N, dtype=torch.bool)
    is_first_N[1:] = (score_N[1:] != score_N[:-1]) | (group_N[1:] != group_N[:-1])
    first_B = is_first_N.nonzero()[:, 0]
    end_B = torch.cat([first_B[1:], first_B.new_tensor([len(order_N)])])[: len(first_B)]
    before_N = torch.cat([is_pos_N.new_zeros(1), is_pos_N.cumsum(0)])
    group_B = group_N[first_B]
    opens_B = torch.searchsorted(group_N, group_B)  # first row of the block's group
    return _Blocks(group_B, end_B - first_B, before_N[end_B] - before_N[first_B], first_B - opens_B, before_N[first_B] - before_N[opens_B])


def _pairs(scores_N: Tensor, labels_N: Tensor, groups_N: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Won pairs, all pairs and rows of each group. Twice the wins are whole numbers, so the sums are exact."""
    blocks = _blocks(scores_N, labels_N, groups_N)
    _, group_B = blocks.group_B.unique_consecutive(return_inverse=True)
    num_groups = int(group_B[-1]) + 1 if len(group_B) else 0

    def total(values_B: Tensor) -> Tensor:
        return values_B.new_zeros(num_groups).index_add_(0, group_B, values_B)

    neg_B, neg_above_B = blocks.num_B - blocks.num_pos_B, blocks.above_B - blocks.pos_above_B
    num_C, pos_C, neg_C = total(blocks.num_B), total(blocks.num_pos_B), total(neg_B)
    twice_B = blocks.num_pos_B * (2 * (neg_C[group_B] - neg_above_B) - neg_B)
    return total(twice_B).double() / 2, (pos_C * neg_C).double(), num_C.double()


def _best_positive(scores_N: Tensor, labels_N: Tensor, groups_N: Tensor) -> tuple[Tensor, Tensor, Tensor, int]:
    """Group, place (from 1) and chance of that place of each group's best positive, for each place it may take; groups with one.

    Of m rows with equal score, p of them positive, the first positive is at place j with chance C(m - j, p - 1) / C(m, p).
    """
    blocks = _blocks(scores_N, labels_N, groups_N)
    is_best_B = (blocks.num_pos_B > 0) & (blocks.pos_above_B == 0)
    group_B, m_B, p_B, above_B = (v[is_best_B] for v in (blocks.group_B, blocks.num_B, blocks.num_pos_B, blocks.above_B))
    choices_B = m_B - p_B + 1
    block_M = torch.repeat_interleave(choices_B)
    j_M = torch.arange(len(block_M), device=block_M.device) - (choices_B.cumsum(0) - choices_B)[block_M] + 1
    m_M, p_M = m_B[block_M].double(), p_B[block_M].double()
    chance_M = torch.exp(_log_choose(m_M - j_M, p_M - 1) - _log_choose(m_M, p_M))
    return group_B[block_M], above_B[block_M] + j_M, chance_M, len(group_B)


def _log_choose(n_M: Tensor, k_M: Tensor) -> Tensor:
    return torch.lgamma(n_M + 1) - torch.lgamma(k_M + 1) - torch.lgamma(n_M - k_M + 1)
