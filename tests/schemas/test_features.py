"""Features as data: names, kinds, shared tables and what follows from them, over every table that has features."""

import importlib

import pytest

from schemas.contract import load, table_names
from schemas.derive import parse_type, required_fields
from schemas.features import TYPES, Feature, columns, fields, in_range

TABLES = [name for name in table_names() if hasattr(importlib.import_module(f"schemas.{name}"), "REQUEST_FEATURES")]


def features_of(table: str) -> tuple[tuple[Feature, ...], tuple[Feature, ...]]:
    module = importlib.import_module(f"schemas.{table}")
    return module.REQUEST_FEATURES, module.ITEM_FEATURES


def test_one_line_gives_column_field_and_check():
    few = (Feature("hour", "user", "bucket", 25, "Hour."), Feature("words", "query", "tokens", 9, "Words."))
    assert [(c.name, c.type, c.doc, c.nullable) for c in columns(few)] == [
        ("hour", "int", "Hour. In [0, 25), 0: none.", False), ("words", "array<int>", "Words. In [0, 9), 0: none.", False),
    ]  # fmt: skip
    assert parse_type(f"struct<{fields(few)}>").parts[1].type.kind == "array"
    assert in_range(few) == "hour >= 0 and hour < 25 and forall(words, v -> v >= 0 and v < 9)"


@pytest.mark.parametrize("table", TABLES)
def test_the_features_of_a_table_are_well_formed(table):
    of_request, of_item = features_of(table)
    named = {f.name: f for f in (*of_request, *of_item)}
    assert len(named) == len(of_request) + len(of_item) > 20
    for feature in named.values():
        owner = named[feature.table] if feature.table else feature
        assert feature.kind in TYPES and feature.group in ("user", "query", "item", "sequence", "domain") and feature.size >= 2
        assert owner.table is None and owner.size == feature.size, f"{feature.name} shares a table of another size"
        assert (feature.kind == "sequence") == (feature.group == "sequence")


@pytest.mark.parametrize("table", TABLES)
def test_a_model_reads_neither_provenance_nor_labels(table):
    """Whoever reads the tuples gets features alone: they are columns and fields of the contract, and none of the others is in them."""
    contract, (of_request, of_item) = load(table), features_of(table)
    elements = {f.name for f in parse_type(contract.column("items").type).parts[0].type.parts}
    names, fields_ = {f.name for f in of_request}, {f.name for f in of_item}
    assert names <= {c.name for c in contract.columns} and fields_ <= elements and fields_ <= set(required_fields(contract.column("items")))
    left = {c.name for c in contract.columns} - names
    assert left == {"day", "request_id", "user_id", "requested_at", "is_pseudo", "query_source", "user_bucket", "items"}
    provenance = {"item_id", "sample_type", "is_exposed", "position", "p_inclusion", "label_source"}
    assert elements - fields_ == provenance | {"weight", *contract.labels}
    assert not any(c.personal for c in columns(of_request))
