"""Every request once an epoch, whatever the sizes, the world and the stops; batches do not depend on who reads them."""

from itertools import chain, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.order import Order, permutation

orders = st.builds(
    Order,
    identity=st.sampled_from(["a", "b"]),
    seed=st.integers(0, 3),
    counts=st.lists(st.integers(0, 40), max_size=12).map(lambda counts: np.array(counts, dtype=np.int64)),
    requests_per_batch=st.integers(1, 70),
    window=st.integers(1, 14),
)


def batches(order, epoch=0, start=0, rank=0, world_size=1, worker=0, num_workers=1):
    """(step, numbers of requests over all files) of each batch of a rank, and the row groups that were read for them."""
    steps = range(start + worker, order.num_steps, num_workers)
    first = np.concatenate([[0], np.cumsum(order.counts)])
    made, waiting, read = [], [], []
    for share in order.shares(epoch, steps, rank, world_size):
        read += share.groups
        assert all(len(rows) for rows in share.rows), "read for nothing"
        for n, step in enumerate(share.steps):
            for group, rows, cuts in zip(share.groups, share.rows, share.cuts, strict=True):
                waiting += (first[group] + rows[cuts[n] : cuts[n + 1]]).tolist()
            if share.is_whole[n]:
                made.append((step, waiting))
                waiting = []
    assert not waiting
    return made, read


def whole(order, epoch=0):
    return [rows for _, rows in batches(order, epoch)[0]]


@given(orders, st.data())
@settings(max_examples=300, deadline=None)
def test_any_stops_with_any_worlds_give_each_request_once(order, data):
    alone = whole(order)
    assert sorted(chain(*alone)) == list(range(order.num_requests)), "lost or repeated"
    assert all(len(rows) == order.requests_per_batch for rows in alone[:-1])
    stops = sorted(data.draw(st.lists(st.integers(0, order.num_steps), max_size=3)))
    together = []
    for start, stop in pairwise([0, *stops, order.num_steps]):
        world_size = data.draw(st.integers(1, 9))
        ranks = [batches(order, 0, start, rank, world_size)[0] for rank in range(world_size)]
        assert {tuple(step for step, _ in made) for made in ranks} == {tuple(range(start, order.num_steps))}, "unequal steps"
        together += [sorted(chain(*(made[step - start][1] for made in ranks))) for step in range(start, stop)]
    assert together == [sorted(rows) for rows in alone], "the world decides who reads a batch, never what it holds"


@given(orders, st.integers(1, 5), st.integers(1, 4), st.integers(0, 5))
@settings(deadline=None)
def test_workers_in_turns_give_a_ranks_batches(order, num_workers, world_size, start):
    start = min(start, order.num_steps)
    for rank in range(world_size):
        split = [batches(order, 1, start, rank, world_size, worker, num_workers)[0] for worker in range(num_workers)]
        in_turns = [split[n % num_workers][n // num_workers] for n in range(order.num_steps - start)]
        assert in_turns == batches(order, 1, start, rank, world_size)[0]


@given(orders)
@settings(deadline=None)
def test_shares_differ_by_one_request_at_most(order):
    for rows in zip(*(batches(order, 0, rank=rank, world_size=4)[0] for rank in range(4)), strict=True):
        sizes = [len(some) for _, some in rows]
        assert max(sizes) - min(sizes) <= 1


def test_order_is_a_function_of_identity_seed_and_epoch():
    counts = np.array([30, 50, 20])
    orders = [Order(identity, seed, counts, 8, 2) for identity in "ab" for seed in (1, 2)]
    shuffles = [tuple(map(tuple, whole(order, epoch))) for order in orders for epoch in (0, 1)]
    assert len(set(shuffles)) == 8
    assert shuffles == [tuple(map(tuple, whole(order, epoch))) for order in orders for epoch in (0, 1)]


def test_windows_hold_other_row_groups_in_another_epoch():
    order = Order("windows", 1, np.full(20, 100), 50, 5)
    first, second = (
        [frozenset(row // 100 for row in chain(*whole(order, epoch)[n : n + 10])) for n in range(0, 40, 10)] for epoch in (0, 1)
    )
    assert not set(first) & set(second)


def test_the_order_of_a_manifest_is_the_same_in_years():
    """Figures of numpy 2.4: a change of them breaks every resume of a run that was started before it."""
    assert permutation(10, "a manifest", 17, 3, "row groups").tolist() == [1, 5, 4, 8, 6, 2, 3, 7, 0, 9]
    assert whole(Order("a manifest", 17, np.array([3, 0, 4, 2]), 4, 2)) == [[7, 8, 3, 4], [5, 6, 0, 1], [2]]


def test_permutations_are_uniform():
    drawn = np.array([permutation(5, "uniform", n) for n in range(6000)])
    at = np.array([[np.mean(drawn[:, place] == value) for value in range(5)] for place in range(5)])
    assert np.abs(at - 0.2).max() < 5 * np.sqrt(0.2 * 0.8 / 6000)
    assert len({tuple(row) for row in drawn.tolist()}) == 120


def test_requests_are_mixed_within_a_window_only():
    order = Order("mix", 1, np.full(20, 100), 50, 5)
    groups = permutation(20, "mix", 1, 0, "row groups")
    for number in range(4):
        expected = set(groups[5 * number : 5 * number + 5].tolist())
        for rows in whole(order)[10 * number : 10 * number + 10]:
            assert {row // 100 for row in rows} == expected, "50 of 500: every row group of the window is in every batch"


def test_a_resume_reads_no_row_group_before_it():
    order = Order("resume", 1, np.full(20, 100), 50, 5)
    groups = permutation(20, "resume", 1, 0, "row groups").tolist()
    assert sorted(batches(order)[1]) == list(range(20))
    assert sorted(batches(order, start=20)[1]) == sorted(groups[10:])
    assert sorted(batches(order, start=39)[1]) == sorted(groups[15:])
    assert batches(order, start=40) == ([], [])


def test_a_rank_reads_its_part_of_a_window():
    order = Order("ranks", 1, np.full(64, 1000), 4096, 16)
    read = [len(batches(order, rank=rank, world_size=8)[1]) for rank in range(8)]
    assert max(read) <= 64 // 2, f"of 64 row groups the ranks read {read}"


@pytest.mark.parametrize("counts", [[], [0], [0, 0, 0]])
def test_nothing_has_no_steps(counts):
    order = Order("none", 1, np.array(counts, dtype=np.int64), 4, 2)
    assert order.num_steps == 0 and whole(order) == []


def test_ranks_beyond_a_short_batch_get_an_empty_share_of_it():
    order = Order("short", 1, np.array([6]), 4, 2)
    sizes = [[len(rows) for _, rows in batches(order, rank=rank, world_size=3)[0]] for rank in range(3)]
    assert [sum(step) for step in zip(*sizes, strict=True)] == [4, 2]
    assert sizes == [[2, 1], [1, 1], [1, 0]]
