"""Which requests make up which batch of an epoch: a pure function of (identity of the manifest, seed, epoch). Numpy alone.

The row groups of all files are permuted. Each `window` of them in a row is a window, and the requests of a window are permuted;
the windows one after the other are the order of the epoch. Batch k of all ranks together holds requests k B to (k + 1) B of that
order, the last batch fewer. A batch is a set: its requests are put in the order in which the window stores them, and each rank
takes one stretch of it, so that a rank needs few row groups of a window and not all.

The world size, the rank and the place where a run starts decide nothing but which part of it is read.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


class Share(NamedTuple):
    """What a rank reads of one window.

    Of row group `groups[g]` it takes `rows[g]`, in this order; of these `cuts[g, n]` to `cuts[g, n + 1]` belong to batch `steps[n]`,
    which has no more in later windows when `is_whole[n]`.
    """

    groups: list[int]
    rows: list[np.ndarray]
    cuts: np.ndarray
    steps: list[int]
    is_whole: list[bool]


def permutation(num: int, *parts: object) -> np.ndarray:
    """0..num - 1 in the order of 64-bit keys: raw output of Philox4x64-10, its 128-bit key the start of the SHA-256 of the parts.

    Raw output, because numpy keeps it for good and Generator.permutation only until somebody finds a faster one.
    """
    digest = hashlib.sha256("\n".join(map(str, parts)).encode()).digest()
    keys = np.random.Philox(key=int.from_bytes(digest[:16], "little")).random_raw(num)
    return np.lexsort(keys.astype("<u8").view("<u2").reshape(-1, 4).T)  # a stable sort by keys; numpy sorts 16 bits in linear time


def _sorting(small: np.ndarray) -> np.ndarray:
    """Positions that sort numbers from 0, equal ones in their order."""
    return np.argsort(small.astype(np.min_scalar_type(small.max(initial=0))), kind="stable")


@dataclass(frozen=True)
class Order:
    """The order of every epoch over row groups of these numbers of requests."""

    identity: str
    seed: int
    counts: np.ndarray
    """Requests of each row group, all files in the order of the manifest."""
    requests_per_batch: int
    window: int

    @property
    def num_requests(self) -> int:
        return int(self.counts.sum())

    @property
    def num_steps(self) -> int:
        return -(-self.num_requests // self.requests_per_batch)

    def shares(self, epoch: int, steps: range, rank: int = 0, world_size: int = 1) -> Iterator[Share]:
        """What this rank reads for these steps, window by window; windows that no such step needs are left out."""
        groups = permutation(len(self.counts), self.identity, self.seed, epoch, "row groups")
        ends = np.cumsum(self.counts[groups])
        for number, first in enumerate(range(0, len(groups), self.window)):
            in_window = groups[first : first + self.window]
            end = int(ends[min(first + self.window, len(groups)) - 1])
            start = end - int(self.counts[in_window].sum())
            touched = range(start // self.requests_per_batch, -(-end // self.requests_per_batch)) if end > start else range(0)
            wanted = [step for step in touched if step in steps]
            if wanted:
                yield self._share(in_window, (epoch, number), (start, end), wanted, (rank, world_size))

    def _share(self, groups: np.ndarray, key: tuple[int, int], span: tuple[int, int], steps: list[int], place: tuple[int, int]) -> Share:
        start, end = span
        batch_of = np.empty(end - start, dtype=np.int64)
        batch_of[permutation(end - start, self.identity, self.seed, *key)] = np.arange(start, end) // self.requests_per_batch
        rows = _sorting(batch_of - start // self.requests_per_batch)  # by batch, within a batch as stored
        stretches = [self._stretch(step, start, end, *place) for step in steps]
        taken = np.concatenate([rows[stretch] for stretch in stretches])
        step_of = np.repeat(np.arange(len(steps)), [stretch.stop - stretch.start for stretch in stretches])
        counts = self.counts[groups]
        group_of = np.repeat(np.arange(len(groups)), counts)[taken]
        held = np.bincount(group_of * len(steps) + step_of, minlength=len(groups) * len(steps)).reshape(len(groups), len(steps))
        first = np.cumsum(counts) - counts
        rows_of = np.split(taken[_sorting(group_of)], np.cumsum(held.sum(axis=1))[:-1])
        needed = np.flatnonzero(held.sum(axis=1))
        return Share(
            groups=groups[needed].tolist(),
            rows=[rows_of[g] - first[g] for g in needed],
            cuts=np.pad(np.cumsum(held[needed], axis=1), ((0, 0), (1, 0))),
            steps=steps,
            is_whole=[min((step + 1) * self.requests_per_batch, self.num_requests) <= end for step in steps],
        )

    def _stretch(self, step: int, start: int, end: int, rank: int, world_size: int) -> slice:
        """What of the window [start, end) of the order is the rank's share of a batch.

        Ranks get as many as if the batch were dealt to them one by one, so that shares differ by one at most over all its windows,
        and of each window one stretch, so that rank 0 reads the first row groups of every window and the last rank the last.
        """
        first = step * self.requests_per_batch
        before, after = max(start - first, 0), min(self.requests_per_batch, end - first)  # dealt with the windows up to here
        low, high = (_dealt(after, ranks, world_size) - _dealt(before, ranks, world_size) for ranks in (rank, rank + 1))
        return slice(first + before - start + low, first + before - start + high)


def _dealt(num: int, ranks: int, world_size: int) -> int:
    """Of requests dealt one by one to all ranks in turn: how many the first `ranks` of them get."""
    return ranks * (num // world_size) + min(ranks, num % world_size)
