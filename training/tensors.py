"""Rows of Arrow as tensors: a list of structs is flattened into items, a list of numbers into values and offsets. No loop over rows.

Tensors lie in Arrow's memory and are not copied, but for booleans, dates and floats with nulls: pass a table that nobody else reads.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pat
import torch
from torch import Tensor

REQUEST_OF_ITEM = "request_of_item"
NUMBERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64")
DTYPES = {getattr(pa, name)().id: getattr(torch, name) for name in NUMBERS}


class Ragged(NamedTuple):
    """Lists of numbers side by side: list n is values[offsets[n] : offsets[n + 1]]."""

    values: Tensor
    offsets: Tensor


Batch = dict[str, Tensor | Ragged | list[str]]
"""By column: numbers as Tensor, lists of numbers as Ragged, strings as a list. By name of the table's columns over requests, by
`list.field` over items, and `request_of_item` says in which row of the batch the request of each item is."""


def kind_of(type_: pa.DataType) -> str | None:
    """What a column of this type becomes: `string`, a name of numbers, `list<>` of these; None where nothing can hold it."""
    if pat.is_list(type_):
        inner = kind_of(type_.value_type)
        return None if inner in (None, "string") or inner.startswith("list") else f"list<{inner}>"
    if pat.is_string(type_) or pat.is_large_string(type_):
        return "string"
    if pat.is_date(type_) or pat.is_timestamp(type_):
        return "microseconds"
    return str(type_) if type_.id in DTYPES or pat.is_boolean(type_) else None


def nulls(table: pa.Table, names: Sequence[str]) -> list[str]:
    """Columns with nulls that no tensor can hold, in words. A null float is NaN, a null list is empty, a null string is None."""
    faults = []
    for name, array in _columns(table, names).items():
        values = array.flatten() if isinstance(array, pa.ListArray) else array
        if values.null_count and not pat.is_floating(values.type) and not _is_string(values):
            faults.append(f"{name} has {values.null_count:,} nulls among {len(values):,} values of type {values.type}")
    return faults


def tensors(table: pa.Table, names: Sequence[str]) -> Batch:
    """The named columns of a table that `nulls` finds nothing in."""
    batch: Batch = {}
    for name, array in _columns(table, names).items():
        if isinstance(array, pa.ListArray):
            batch[name] = Ragged(_tensor(array.flatten()), _offsets(array))
        else:
            batch[name] = array.to_pylist() if _is_string(array) else _tensor(array)
    for items in {name.partition(".")[0] for name in names if "." in name}:
        lengths = pc.fill_null(_one(table[items]).value_lengths(), 0).to_numpy()
        batch[REQUEST_OF_ITEM] = torch.from_numpy(np.repeat(np.arange(len(lengths)), lengths))
    return batch


def each_tensor(batch: Batch, change: Callable[[Tensor], Tensor]) -> Batch:
    """The batch with every tensor changed, strings as they are."""
    changed: Batch = {}
    for name, value in batch.items():
        if isinstance(value, Ragged):
            changed[name] = Ragged(change(value.values), change(value.offsets))
        else:
            changed[name] = change(value) if isinstance(value, Tensor) else value
    return changed


def _columns(table: pa.Table, names: Sequence[str]) -> dict[str, pa.Array]:
    """Arrays by name; of a field of the items the flat one."""
    fields: dict[str, pa.Array] = {}
    for items in {name.partition(".")[0] for name in names if "." in name}:
        structs = _one(table[items]).flatten()
        parts = structs.flatten() if structs.null_count else map(structs.field, range(structs.type.num_fields))  # null with its struct
        fields |= {f"{items}.{field.name}": part for field, part in zip(structs.type, parts, strict=True)}
    return {name: fields[name] if "." in name else _one(table[name]) for name in names}


def _one(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _is_string(array: pa.Array) -> bool:
    return isinstance(array, pa.StringArray | pa.LargeStringArray)


def _offsets(lists: pa.Array) -> Tensor:
    """int64, from 0. Null lists are as long as empty ones in all that Arrow reads from parquet or takes."""
    offsets = _tensor(lists.offsets).long()
    return offsets - offsets[0]


def _tensor(array: pa.Array) -> Tensor:
    dtype = DTYPES.get(array.type.id)
    if dtype is None and pat.is_boolean(array.type):
        return _tensor(array.cast(pa.uint8())).view(torch.bool)
    if dtype is None:
        return _tensor(array.cast(pa.timestamp("us"), safe=False).view(pa.int64()))
    if not len(array):
        return torch.empty(0, dtype=dtype)
    values = (array.fill_null(float("nan")) if array.null_count else array).buffers()[1]
    return torch.frombuffer(values, dtype=dtype, count=len(array), offset=array.offset * dtype.itemsize)
