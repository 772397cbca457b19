"""Lists of items against sorting by hand, FAISS against comparing all, measures against numbers worked out."""

import math

import pytest
import torch
import torch.nn.functional as F

from training.retrieval import by_query, gains, keys, means, nearest, nearest_by_faiss


def vectors(rows, seed):
    return F.normalize(torch.randn(rows, 16, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_the_nearest_are_those_of_a_whole_sort():
    queries, items = vectors(7, 1), vectors(40, 2)
    scores = queries @ items.T
    for row, found in zip(scores.tolist(), nearest(queries, items, 9).tolist(), strict=True):
        assert found == sorted(range(40), key=lambda n: (-row[n], n))[:9]


def test_of_equal_items_the_earlier_comes_first():
    items = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 0.0]])
    assert nearest(torch.tensor([[1.0, 0.0]]), items, 2).tolist() == [[0, 2]]
    assert nearest(torch.tensor([[1.0, 0.0]]), items, 9).tolist() == [[0, 2, 3, 1]]


def test_faiss_finds_what_comparing_all_finds():
    queries, items = vectors(200, 3), vectors(3000, 4)
    exact, found = nearest(queries, items), nearest_by_faiss(queries, items)
    assert found.shape == (200, 50)
    assert torch.equal(exact.sort(1).values, found.sort(1).values)
    assert (exact == found).float().mean() > 0.99  # last digits may swap neighbours


def test_measures_are_as_worked_out_by_hand():
    places = torch.tensor([[3, 1, 0], [2, 0, 4], [1, 2, 3]])
    query, item, gain = torch.tensor([0, 0, 1, 1]), torch.tensor([1, 2, 4, 3]), torch.tensor([1.0, 0.5, 0.5, 0.5])
    found = by_query(places, query, item, gain, num_items=5, good=1.0)
    assert found["hr@50"][0] == 1  # the one good item, of place 2
    assert found["good_rate@10"][0] == pytest.approx(0.1)
    assert found["ndcg@10"][0] == pytest.approx((1 / math.log2(3)) / (1 + 0.5 / math.log2(3)))
    assert found["good_lists@10"].isnan().all()  # no query has eight good items
    assert math.isnan(found["hr@50"][1]) and math.isnan(found["good_rate@10"][1])  # nothing good is known of it
    assert found["ndcg@10"][1] == pytest.approx((0.5 / math.log2(4)) / (0.5 + 0.5 / math.log2(3)))
    assert math.isnan(found["ndcg@10"][2])  # nothing is known of it
    groups = means(found, {"all": [True] * 3, "second": [False, True, False]})
    assert groups["all"]["hr@50"] == 1 and groups["all"]["queries"] == 2
    assert groups["second"]["ndcg@10"] == pytest.approx(float(found["ndcg@10"][1])) and groups["second"]["hr@50"] is None
    assert means(found, {"none": [False, False, True]}) == {}


def test_a_shorter_list_holds_nothing_in_its_empty_places():
    truth = keys(torch.tensor([0, 1]), torch.tensor([0, 4]), 5)
    assert gains(torch.tensor([[0, -1], [-1, 4]]), truth, torch.ones(2), 5).tolist() == [[1, 0], [0, 1]]
    assert gains(torch.tensor([[0, 1]]), truth[:0], torch.ones(0), 5).tolist() == [[0, 0]]


def test_more_good_items_than_places_can_still_be_found_whole():
    found = by_query(torch.arange(50)[None], torch.zeros(80, dtype=torch.int64), torch.arange(80), torch.ones(80), 80, good=1.0)
    assert found["hr@50"].tolist() == [1] and found["good_rate@10"].tolist() == [1] and found["ndcg@10"].item() == pytest.approx(1)


def test_a_list_is_good_with_eight_good_items_of_ten():
    places = torch.stack([torch.arange(10), torch.tensor([0, 1, 2, 3, 4, 5, 6, 50, 51, 52])])
    query, item = torch.arange(2).repeat_interleave(8), torch.arange(8).repeat(2)
    assert by_query(places, query, item, torch.ones(16), 60, good=1.0)["good_lists@10"].tolist() == [1, 0]
