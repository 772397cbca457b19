"""Features as plain data: one line each, from which columns, fields of list elements and checks of ranges follow."""

from collections.abc import Iterable
from dataclasses import dataclass

from schemas.contract import Column

TYPES = {"id": "int", "bucket": "int", "tokens": "array<int>", "sequence": "array<int>"}
"""Spark type of each kind: one hashed or enumerated id, one place on a scale, a bag of ids, ids aligned with the other sequences."""


@dataclass(frozen=True)
class Feature:
    """What a model reads, as small integers: 0 is missing or unknown, so that no reader needs a mask or a default."""

    name: str
    """Of the column, or of the field within the list."""
    group: str
    """Token group of the model: user, query, item, sequence, domain."""
    kind: str
    """A key of TYPES."""
    size: int
    """Values lie in [0, size)."""
    doc: str
    table: str | None = None
    """Embedding table that it shares: the name of the feature, of the same size, that owns it. None: its own."""


def columns(features: Iterable[Feature]) -> tuple[Column, ...]:
    """The features as columns of a contract."""
    return tuple(Column(f.name, TYPES[f.kind], f"{f.doc} In [0, {f.size}), 0: none.") for f in features)


def fields(features: Iterable[Feature]) -> str:
    """The features as fields inside `struct<...>`."""
    return ", ".join(f"{f.name} {TYPES[f.kind]} not null" for f in features)


def in_range(features: Iterable[Feature]) -> str:
    """SQL that holds where every value of these features lies in its range; one condition, so that a gate tests it in one go."""
    in_list = "forall({0}, v -> v >= 0 and v < {1})".format
    number = "{0} >= 0 and {0} < {1}".format
    return " and ".join((in_list if TYPES[f.kind] == "array<int>" else number)(f.name, f.size) for f in features)
