"""Measures against hand-worked numbers and against oracles that go through all pairs and all orders of ties."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.metrics import auc, calibration, gauc, hit_rate, mrr

ROWS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4), st.booleans()), min_size=1, max_size=14)
"""(group, score, label): few values, so that ties and groups without both labels abound."""


def columns(rows):
    groups, scores, labels = zip(*rows, strict=True)
    return torch.tensor(scores, dtype=torch.float32) / 4, torch.tensor(labels).long(), torch.tensor(groups) * 1000 - 7


def auc_by_pairs(rows):
    pairs = [(p, n) for _, p, is_p in rows if is_p for _, n, is_n in rows if not is_n]
    return sum((p > n) + 0.5 * (p == n) for p, n in pairs) / len(pairs) if pairs else math.nan


def by_group(rows):
    return [[row for row in rows if row[0] == group] for group in sorted({row[0] for row in rows})]


def best_places(rows):
    """Place of the best positive in every order that the scores allow; each block of ties is permuted by itself."""
    blocks = [[row for row in rows if row[1] == score] for score in sorted({row[1] for row in rows}, reverse=True)]
    above = 0
    for block in blocks:
        if any(label for _, _, label in block):
            num_pos = sum(label for _, _, label in block)
            firsts = itertools.combinations(range(1, len(block) + 1), num_pos)
            return [above + min(places) for places in firsts]
        above += len(block)
    return []


def mean(values):
    values = list(values)
    return sum(values) / len(values) if values else math.nan


def test_auc_worked_by_hand():
    scores, labels = torch.tensor([0.9, 0.5, 0.5, 0.1]), torch.tensor([1, 1, 0, 0])
    assert auc(scores, labels) == 3.5 / 4  # 0.9 beats both, 0.5 ties with one and beats the other
    assert auc(-scores, labels) == 0.5 / 4
    assert auc(torch.zeros(4), labels) == 0.5


def test_gauc_weights_requests_by_impressions_and_leaves_out_those_without_both_labels():
    scores = torch.tensor([0.9, 0.1, 0.2, 0.8, 0.5, 0.4, 0.3])
    labels = torch.tensor([1, 0, 1, 0, 0, 0, 0])
    groups = torch.tensor([1, 1, 2, 2, 2, 3, 3])
    assert gauc(scores, labels, groups) == pytest.approx((1.0 * 2 + 0.0 * 3) / 5)  # request 3 has no click
    assert math.isnan(gauc(scores[5:], labels[5:], groups[5:]))


def test_hit_rate_and_mrr_worked_by_hand():
    scores = torch.tensor([6.0, 5, 4, 3, 2, 1, 6, 5, 7, 7])
    labels = torch.tensor([0, 0, 0, 0, 0, 1, 0, 1, 0, 0])
    groups = torch.tensor([0] * 6 + [1] * 2 + [2] * 2)  # best positive: sixth, second, none
    assert hit_rate(scores, labels, groups) == 0.5
    assert hit_rate(scores, labels, groups, k=6) == 1.0
    assert mrr(scores, labels, groups) == pytest.approx((1 / 6 + 1 / 2) / 2)


def test_a_constant_score_has_the_hit_rate_of_a_random_page():
    labels, groups = torch.tensor([1, *[0] * 9]), torch.zeros(10, dtype=torch.int64)
    assert hit_rate(torch.zeros(10), labels, groups) == pytest.approx(5 / 10)
    assert mrr(torch.zeros(10), labels, groups) == pytest.approx(sum(1 / n for n in range(1, 11)) / 10)


@settings(max_examples=200, deadline=None)
@given(ROWS)
def test_measures_equal_their_oracles_over_all_pairs_and_orders(rows):
    scores, labels, groups = columns(rows)
    assert auc(scores, labels) == pytest.approx(auc_by_pairs(rows), nan_ok=True, abs=1e-12)
    mixed = [(auc_by_pairs(g), len(g)) for g in by_group(rows) if not math.isnan(auc_by_pairs(g))]
    expected = sum(a * n for a, n in mixed) / sum(n for _, n in mixed) if mixed else math.nan
    assert gauc(scores, labels, groups) == pytest.approx(expected, nan_ok=True, abs=1e-12)
    places = [best_places(group) for group in by_group(rows) if best_places(group)]
    for k in (1, 2, 5):
        expected = mean(mean(place <= k for place in group) for group in places)
        assert hit_rate(scores, labels, groups, k) == pytest.approx(expected, nan_ok=True, abs=1e-9)
    assert mrr(scores, labels, groups) == pytest.approx(mean(mean(1 / p for p in g) for g in places), nan_ok=True, abs=1e-9)


@settings(max_examples=50, deadline=None)
@given(ROWS, st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(rows, random):
    other = random.sample(rows, len(rows))
    for measure in (gauc, hit_rate, mrr):
        assert measure(*columns(other)) == pytest.approx(measure(*columns(rows)), nan_ok=True, abs=1e-12)


def test_auc_of_many_rows_is_exact():
    """10^6 rows in 1,000 blocks of ties: compared with counts in exact integers."""
    generator = torch.Generator().manual_seed(5)
    scores = torch.randint(0, 1000, (1_000_000,), generator=generator)
    labels = torch.randint(0, 2, (1_000_000,), generator=generator)
    pos, neg = (torch.bincount(scores[labels == y], minlength=1000).tolist() for y in (1, 0))
    below, twice = 0, 0
    for p, n in zip(pos, neg, strict=True):
        twice += p * (2 * below + n)
        below += n
    assert auc(scores.float(), labels) == pytest.approx(twice / (2 * sum(pos) * sum(neg)), abs=1e-15)


def test_calibration_by_ratio_and_by_tenths():
    chances = torch.arange(100) / 100
    labels = (torch.arange(100) % 4 == 0).long()  # 25 positives; the chances sum to 49.5
    found = calibration(chances, labels)
    assert found["ratio"] == pytest.approx(49.5 / 25)
    assert [b["n"] for b in found["buckets"]] == [10] * 10
    assert found["buckets"][0] == {"n": 10, "p": pytest.approx(0.045), "y": pytest.approx(0.3)}  # 0, 4, 8 of 0..9


def test_nothing_to_measure_is_nan_and_a_nan_score_is_an_error():
    nothing = torch.zeros(0)
    for value in (auc(nothing, nothing), *(m(nothing, nothing, nothing.long()) for m in (gauc, hit_rate, mrr))):
        assert math.isnan(value)
    assert math.isnan(calibration(nothing, nothing)["ratio"])
    with pytest.raises(ValueError, match="1 of 2 scores are NaN"):
        auc(torch.tensor([0.1, math.nan]), torch.tensor([1, 0]))
