"""How the values of columns are distributed, in one pass over parquet files and in bounded memory; and how far two such passes differ."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq

BATCH = 4096  # rows; lists of a few hundred elements stay within megabytes
BINS = 64


@dataclass
class Values:
    """What is kept of the values of a column, list element field, or of the length of a list."""

    kind: str
    """number, boolean or string."""
    count: int = 0
    """Those that are not null."""
    nulls: int = 0
    """What is not finite is one."""
    total: float = 0.0
    """Their sum; of strings 0."""
    bins: Counter[float] = field(default_factory=Counter)


def profile(
    fs: pafs.FileSystem, paths: Sequence[str], watch: Callable[[], object] = lambda: None, most: int | None = None
) -> dict[str, Values]:
    """The rows of the files, by column: `items.price_cents` is a field of the elements of `items`, `len(items)` their number.

    `most` bounds how many rows of each file are looked at: as many from the start of each of its row groups.
    """
    found: dict[str, Values] = {}
    for path in paths:
        with pq.ParquetFile(path, filesystem=fs) as file:
            for batch in file.iter_batches(BATCH) if most is None else _first_of_groups(file, most):
                for column, array in zip(batch.schema.names, batch.columns, strict=True):
                    for name, kind, values in _leaves(column, array):
                        _add(found.setdefault(name, Values(kind)), values)
        watch()
    return found


def _first_of_groups(file: pq.ParquetFile, most: int) -> Iterator[pa.RecordBatch]:
    each = max(most // max(file.num_row_groups, 1), 1)
    for group in range(file.num_row_groups):
        left = each
        for batch in file.iter_batches(min(BATCH, each), row_groups=[group]):
            yield batch.slice(0, left)
            if (left := left - len(batch)) <= 0:
                break


def _leaves(name: str, array: pa.Array) -> Iterator[tuple[str, str, pa.Array]]:
    """The numbers, booleans and strings in a column, at every depth. Times, maps and bytes are left out."""
    kind = array.type
    if pa.types.is_struct(kind):
        for part, inner in zip(kind, array.flatten(), strict=True):
            yield from _leaves(f"{name}.{part.name}", inner)
    elif pa.types.is_list(kind):
        yield f"len({name})", "number", pc.list_value_length(array)
        yield from _leaves(name, array.flatten())
    elif pa.types.is_boolean(kind):
        yield name, "boolean", array.cast(pa.int8())
    elif pa.types.is_integer(kind) or pa.types.is_floating(kind):
        yield name, "number", array
    elif pa.types.is_string(kind):
        yield name, "string", array


def _add(values: Values, array: pa.Array) -> None:
    if values.kind == "string":
        bins, counts = _string_bins(array.drop_null())
    else:
        numbers = array.drop_null().to_numpy(zero_copy_only=False).astype(np.float64)
        numbers = numbers[np.isfinite(numbers)]
        values.total += float(numbers.sum())
        bins, counts = np.unique(_number_bins(numbers), return_counts=True)
    num_values = int(counts.sum())
    values.count, values.nulls = values.count + num_values, values.nulls + len(array) - num_values
    values.bins.update(dict(zip(bins.tolist(), counts.tolist(), strict=True)))


def _number_bins(numbers: np.ndarray) -> np.ndarray:
    """Each number with its first six binary digits: whole numbers up to 64 are kept apart, others to 3 %."""
    mantissa, exponent = np.frexp(numbers)
    return np.ldexp(np.trunc(mantissa * 64) / 64, exponent)


def _string_bins(strings: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Strings fall into BINS bins by a hash: few values keep apart, and no text of a person is held."""
    encoded = strings.dictionary_encode()
    texts = encoded.dictionary.to_numpy(zero_copy_only=False)
    bins = (pd.util.hash_array(texts, categorize=False) % BINS).astype(np.int64) if len(texts) else np.zeros(0, np.int64)
    counts = np.bincount(bins[encoded.indices.to_numpy()], minlength=BINS)
    return np.flatnonzero(counts), counts[counts > 0]


def merged(a: dict[str, Values], b: dict[str, Values]) -> dict[str, Values]:
    """The profile of both sets of rows together."""
    both = dict(b)
    for name, x in a.items():
        y = b.get(name, Values(x.kind))
        both[name] = Values(x.kind, x.count + y.count, x.nulls + y.nulls, x.total + y.total, x.bins + y.bins)
    return both


def compare(a: dict[str, Values], b: dict[str, Values]) -> list[dict[str, Any]]:
    """How far each column that both have moved, the largest change first.

    `distance` is the total variation between the two, nulls being a value too: the share of rows that would have to change, 0 to 1.
    `chance` is what it would be on average between two draws of these sizes from one source; the order is by what exceeds it.
    """
    found = []
    for name in a.keys() & b.keys():
        x, y = a[name], b[name]
        if x.kind == y.kind:
            distance, chance = _distance(x, y)
            facts = {"column": name, "kind": x.kind, "null_share": [_null_share(v) for v in (x, y)], "mean": [_mean(v) for v in (x, y)]}
            found.append(facts | {"distance": round(distance, 6), "chance": round(chance, 6)})
    return sorted(found, key=lambda f: (min(f["chance"] - f["distance"], 0), -f["distance"], f["column"]))


def _null_share(values: Values) -> float | None:
    num = values.count + values.nulls
    return values.nulls / num if num else None


def _mean(values: Values) -> float | None:
    return values.total / values.count if values.count and values.kind != "string" else None


def _distance(a: Values, b: Values) -> tuple[float, float]:
    bins = sorted(a.bins.keys() | b.bins.keys())
    counts = np.array([[*(v.bins[k] for k in bins), v.nulls] for v in (a, b)], np.float64)
    sizes = counts.sum(axis=1)
    if not sizes.all():
        return float(sizes.any()), 0.0
    counts = _coarse(counts)
    p, q = counts / sizes[:, None]
    pooled = counts.sum(axis=0) / sizes.sum()
    deviation = np.sqrt(pooled * (1 - pooled) * (1 / sizes).sum())
    return float(abs(p - q).sum() / 2), float(deviation.sum() * np.sqrt(2 / np.pi) / 2)


def _coarse(counts: np.ndarray) -> np.ndarray:
    """Neighbouring bins joined into at most BINS of about equal weight, so that chance does not add up; the last column, nulls, stays."""
    if counts.shape[1] <= BINS + 1:
        return counts
    shares = (counts / counts.sum(axis=1, keepdims=True)).sum(axis=0)[:-1]
    middle = (shares.cumsum() - shares / 2) / max(shares.sum(), 1e-300)
    group = np.minimum((middle * BINS).astype(int), BINS - 1)
    joined = np.array([np.bincount(group, weights=row, minlength=BINS) for row in counts[:, :-1]])
    return np.column_stack([joined, counts[:, -1]])
