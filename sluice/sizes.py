"""`sluice bytes`: what it saves to keep the samples of a request in one row, on the rows of a published day."""

import importlib
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.messages import UsageError
from jobs.storage import Table, check_lake, lake_address, open_table
from schemas.contract import Contract
from sluice.screens import console, grid, print_json

PAPER = 0.5
"""Bytes of grouped rows to those of flat ones: UniScale (arXiv 2603.24226), step 4, about half."""
LENGTHS = (0, 20, 100)
"""Behaviour sequences are cut to so many acts; tables without sequences have one row of figures."""


def grouped_and_flat(table: Table, day: date, change: Callable[[pa.Table], pa.Table] = lambda rows: rows) -> dict[str, Any]:
    """Bytes of the day's rows, changed if asked, as they are and with a row for each sample: one writer, parquet with zstd.

    flat keeps the samples of a request side by side, where the writer folds what they repeat; shuffled has those of some thousand
    requests in an order of chance, as samples are kept that shall be trained on as they lie. in_memory is grouped to flat as a reader
    holds them, with nothing folded.
    """
    column, sizes, held = table.contract.elements.column, {}, {}
    shapes = {"grouped": lambda rows: rows, "flat": lambda rows: flat(rows, column), "shuffled": lambda rows: shuffled(flat(rows, column))}
    with tempfile.TemporaryDirectory() as folder:
        for name, shape in shapes.items():
            path, writer, held[name] = os.path.join(folder, name), None, 0
            for batch in batches(table, day):
                rows = shape(change(batch))
                writer = writer or pq.ParquetWriter(path, rows.schema, compression="zstd")
                writer.write_table(rows)
                held[name] += rows.nbytes
            if writer:
                writer.close()
            sizes[name] = os.path.getsize(path) if writer else 0
    ratio, in_memory = (found["grouped"] / found["flat"] if found["flat"] else None for found in (sizes, held))
    to_shuffled = sizes["grouped"] / sizes["shuffled"] if sizes["shuffled"] else None
    return sizes | {"ratio": ratio, "ratio_shuffled": to_shuffled, "paper": PAPER, "in_memory": in_memory}


def batches(table: Table, day: date) -> Iterator[pa.Table]:
    """The day's rows, a few thousand at a time."""
    dataset = table.delta.to_pyarrow_dataset(partitions=[("day", "=", day.isoformat())])
    for batch in dataset.to_batches(batch_size=4096):
        if batch.num_rows:
            yield pa.Table.from_batches([batch])


def flat(rows: pa.Table, column: str) -> pa.Table:
    """A row for each element of the list, the other columns repeated."""
    items = rows[column].combine_chunks()
    parents, elements = pc.list_parent_indices(items), pc.list_flatten(items)
    columns = {name: rows[name].take(parents) for name in rows.column_names if name != column}
    fields = {elements.type.field(i).name: pc.struct_field(elements, i) for i in range(elements.type.num_fields)}
    return pa.table(columns | fields)


def shuffled(rows: pa.Table) -> pa.Table:
    """The same rows in an order of chance, the same whenever it is asked for."""
    return rows.take(pa.array(np.random.default_rng(17).permutation(len(rows))))


def shortened(rows: pa.Table, names: Sequence[str], length: int) -> pa.Table:
    """The lists of these columns cut to their first elements."""
    for name in names:
        lists = rows[name].combine_chunks()
        # pyarrow refuses a slice of no elements
        cut = pc.list_slice(lists, 0, length) if length else pc.list_slice(pc.list_slice(lists, 0, 1), 1, 2)
        rows = rows.set_column(rows.schema.get_field_index(name), name, cut)
    return rows


def sequences_of(contract: Contract) -> list[str]:
    """Names of the columns that hold behaviour sequences."""
    features = getattr(importlib.import_module(f"schemas.{contract.name}"), "REQUEST_FEATURES", ())
    return [f.name for f in features if f.kind == "sequence"]


def facts(lake: str, contract: Contract, day: date) -> dict[str, Any]:
    """Requests and samples of the day, and their bytes grouped and flat, at each length of the sequences."""
    if not contract.elements:
        raise UsageError(f"{contract.name}: one row is one {', '.join(contract.grain)} and holds no list; entire_space and others do")
    table, names = open_table(lake_address(lake), contract), sequences_of(contract)
    found = {"table": contract.name, "day": day.isoformat(), "requests": table.receipt(day)["rows"], "samples": 0, "sizes": []}
    found["samples"] = sum(_length(rows[contract.elements.column]) for rows in batches(table, day))
    for length in LENGTHS if names else (None,):
        cut = lambda rows, length=length: rows if length is None else shortened(rows, names, length)  # noqa: E731
        acts = sum(_length(cut(rows)[names[0]]) for rows in batches(table, day)) if names else 0
        mean = round(acts / found["requests"], 1) if names and found["requests"] else None
        found["sizes"].append({"acts": length, "mean_acts": mean} | grouped_and_flat(table, day, cut))
    return found


def _length(lists: pa.ChunkedArray) -> int:
    """Number of elements in all lists."""
    return pc.sum(pc.list_value_length(lists)).as_py() or 0


def report(lake: str, contract: Contract, day: date, as_json: bool) -> None:
    check_lake(lake, must_exist=True)
    found = facts(lake, contract, day)
    if as_json:
        print_json(found)
        return
    title = f"{contract.name} {day}: {found['requests']:,} requests, {found['samples']:,} samples; bytes as parquet with zstd"
    names = ("mean", "grouped", "flat", "shuffled", "grouped / flat", "/ shuffled", "paper", "/ flat in memory")
    shown = grid(title, "acts in a sequence", *names, numbers=names)
    for row in found["sizes"]:
        acts = ("-", "-") if row["acts"] is None else (f"at most {row['acts']}", f"{row['mean_acts']}")
        ratios = (f"{row[name]:.2f}" if row[name] else "-" for name in ("ratio", "ratio_shuffled", "paper", "in_memory"))
        shown.add_row(*acts, *(f"{row[name]:,}" for name in ("grouped", "flat", "shuffled")), *ratios)
    console().print(shown)
