"""Streams the rows of a manifest to torch, shuffled, from the parquet files that it names: no Spark, no table log.

    loader = Loader(manifest, ["query_tokens", "items.item_hash", "items.y_click"], requests_per_batch=4096, seed=17)
    for epoch in range(3):
        for batch in loader.at(epoch):
            ...  # batch["query_tokens"] over requests, batch["items.y_click"] over items, batch["request_of_item"] between them

The order is that of `training.order`: all that a run has to remember is (epoch, step), and `loader.at(epoch, step)` goes on from
there with any number of ranks. Cost: up to three windows of decoded row groups in memory. Each worker of a DataLoader decodes
every row group that its rank needs, so one worker, or none and the threads of the loader itself, are the cheapest.
"""

import copy
import os
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from training.groups import Groups
from training.manifest import Manifest, identity
from training.order import Order, Share
from training.tensors import Batch, Ragged, each_tensor, tensors

__all__ = ["Batch", "Loader", "Ragged", "rank_and_world", "to_device"]
T, M = TypeVar("T"), TypeVar("M")


class Loader(IterableDataset[Batch]):
    """Batches of one epoch, from a step to its end.

    `rank` of `world_size` takes its share of every batch. All ranks have `num_steps` steps; where a batch holds fewer requests than
    there are ranks, some of them get one of 0 requests, with every column in it.
    """

    def __init__(
        self,
        manifest: Manifest,
        columns: Sequence[str],
        *,
        requests_per_batch: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        window: int = 8,
        start: tuple[int, int] = (0, 0),
        prefetch: int = 4,
        pin_memory: bool = False,
    ) -> None:
        """Reads the footers of all files. Raises ManifestError when a file is not as pinned, ValueError on other arguments.

        `columns`: names of the table's columns, `day`, and `list.field` for fields of the items. `window`: row groups whose requests
        are mixed with each other, so the measure of shuffling and of memory. `start`: (epoch, step). `prefetch`: batches made ahead.
        """
        numbers = {"requests_per_batch": requests_per_batch, "world_size": world_size, "window": window, "prefetch": prefetch}
        faults = [f"{name} is {value}, must be at least 1" for name, value in numbers.items() if value < 1]
        if not 0 <= rank < max(world_size, 1):
            faults.append(f"rank is {rank}, must be from 0 to {world_size - 1} with a world_size of {world_size}")
        if faults:
            raise ValueError("Loader: " + "; ".join(faults))
        self.rank, self.world_size, self.prefetch, self.pin_memory = rank, world_size, prefetch, pin_memory
        self.groups = Groups(manifest, columns)
        self.order = Order(identity(manifest), seed, np.array(self.groups.rows, dtype=np.int64), requests_per_batch, window)
        self.start = self._checked(*start)

    @property
    def num_steps(self) -> int:
        """Steps of an epoch, the same for all ranks."""
        return self.order.num_steps

    def __len__(self) -> int:
        """Steps from the start to the end of the epoch."""
        return self.num_steps - self.start[1]

    def at(self, epoch: int, step: int = 0) -> "Loader":
        """The same loader at another place; footers are not read again."""
        other = copy.copy(self)
        other.start = self._checked(epoch, step)
        return other

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()  # a DataLoader takes from its workers in turns, so worker w makes steps w, w + W, ... from the start
        number, num_workers = (worker.id, worker.num_workers) if worker else (0, 1)
        steps = range(self.start[1] + number, self.num_steps, num_workers)
        shares = self.order.shares(self.start[0], steps, self.rank, self.world_size)
        return made_ahead(self._parts(made_ahead(self._windows(shares), 1)), self.prefetch, self._batch)

    def _checked(self, epoch: int, step: int) -> tuple[int, int]:
        if epoch < 0 or not 0 <= step <= self.num_steps:
            raise ValueError(
                f"Loader: start is {(epoch, step)}, must be (epoch, step) with an epoch from 0 and a step from 0 to {self.num_steps}"
            )
        return epoch, step

    def _windows(self, shares: Iterator[Share]) -> Generator[tuple[Share, list[pa.Table]], None, None]:
        """What the rank takes of each window, decoded by as many threads as Arrow uses: OMP_NUM_THREADS, or one a core."""
        with ThreadPoolExecutor(pa.cpu_count()) as pool:
            for share in shares:
                yield share, list(pool.map(self.groups.read, share.groups, share.rows))

    def _parts(self, windows: Iterator[tuple[Share, list[pa.Table]]]) -> Generator[list[pa.Table], None, None]:
        """Slices of windows that make up each batch."""
        parts = [self.groups.nothing]  # always among them, so that a batch is copied out of its windows
        for share, tables in windows:
            firsts = share.cuts.T.tolist()
            for first, end, is_whole in zip(firsts, firsts[1:], share.is_whole, strict=False):
                parts += [table.slice(a, b - a) for table, a, b in zip(tables, first, end, strict=True)]
                if is_whole:
                    yield parts
                    parts = [self.groups.nothing]

    def _batch(self, parts: list[pa.Table]) -> Batch:
        batch = tensors(pa.concat_tables(parts).combine_chunks(), self.groups.columns)
        return each_tensor(batch, Tensor.pin_memory) if self.pin_memory else batch


def made_ahead(source: Generator[T, None, None], depth: int, make: Callable[[T], M] = lambda thing: thing) -> Generator[M, None, None]:
    """What `make` makes of the same things in the same order, up to `depth` of them ahead: one thread takes, two make."""
    taker, makers = ThreadPoolExecutor(1), ThreadPoolExecutor(2)

    def take() -> Future[M] | None:
        thing = next(source, None)
        return None if thing is None else makers.submit(make, thing)

    try:
        waiting = deque(taker.submit(take) for _ in range(depth))
        while (made := waiting.popleft().result()) is not None:
            waiting.append(taker.submit(take))
            yield made.result()
    finally:
        taker.shutdown(cancel_futures=True)
        makers.shutdown(cancel_futures=True)
        source.close()


def to_device(batch: Batch, device: torch.device | str) -> Batch:
    """The batch on a device; out of pinned memory without waiting for it."""
    return each_tensor(batch, lambda tensor: tensor.to(device, non_blocking=True))


def rank_and_world() -> tuple[int, int]:
    """RANK and WORLD_SIZE as torchrun sets them; (0, 1) in a process of its own."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
