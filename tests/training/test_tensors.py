"""Arrow to tensors: slices, chunks, nulls, and no copy of what need not be changed."""

import pyarrow as pa
import pytest
import torch

from training.tensors import Ragged, kind_of, nulls, tensors

TABLE = pa.table({
    "hour": pa.array([7, 8, 9, 10], pa.int8()),
    "rate": pa.array([0.5, None, 1.5, 2.5]),
    "seq": pa.array([[1, 2], None, [], [3, 4, 5]], pa.list_(pa.int32())),
    "items": pa.array([[{"y": 1, "words": [1]}], [], None, [{"y": 0, "words": []}, {"y": 1, "words": [2, 3]}]],
                      pa.list_(pa.struct({"y": pa.int32(), "words": pa.list_(pa.int64())}))),
})  # fmt: skip
NAMES = ["hour", "rate", "seq", "items.y", "items.words"]


def plain(batch: dict) -> dict:
    return {name: [part.tolist() for part in value] if isinstance(value, Ragged) else value.tolist() for name, value in batch.items()}


@pytest.mark.parametrize("table", [TABLE.slice(2), pa.concat_tables([TABLE.slice(2, 1), TABLE.slice(3, 1)])], ids=["slice", "chunks"])
def test_parts_of_tables_count_from_their_own_start(table):
    assert plain(tensors(table, NAMES)) == {
        "hour": [9, 10], "rate": [1.5, 2.5], "seq": [[3, 4, 5], [0, 0, 3]], "items.y": [0, 1],
        "items.words": [[2, 3], [0, 0, 2]], "request_of_item": [1, 1],
    }  # fmt: skip


def test_null_lists_are_empty_and_null_floats_are_nan():
    batch = tensors(TABLE.slice(0, 2), NAMES)
    assert batch["rate"][0] == 0.5 and batch["rate"][1].isnan()
    assert batch["seq"].offsets.tolist() == [0, 2, 2] and batch["request_of_item"].tolist() == [0]
    assert nulls(TABLE, NAMES) == []


def test_nothing_has_the_types_of_something():
    nothing, something = tensors(TABLE.slice(0, 0), NAMES), tensors(TABLE, NAMES)
    assert plain(nothing) == {
        "hour": [], "rate": [], "seq": [[], [0]], "items.y": [], "items.words": [[], [0]], "request_of_item": [],
    }  # fmt: skip
    for name, value in nothing.items():
        assert (value.values if isinstance(value, Ragged) else value).dtype == (
            something[name].values if isinstance(value, Ragged) else something[name]
        ).dtype


def test_numbers_are_not_copied():
    table = pa.table({"hour": pa.array(range(100), pa.int32())})
    batch = tensors(table, ["hour"])
    assert batch["hour"].data_ptr() == table["hour"].chunk(0).buffers()[1].address


def test_fields_of_a_null_item_are_null():
    item = pa.array([[{"rate": 1.0}, None]], pa.list_(pa.struct({"rate": pa.float64()})))
    assert tensors(pa.table({"items": item}), ["items.rate"])["items.rate"].isnan().tolist() == [False, True]


def test_nulls_of_integers_are_counted_by_column():
    item = pa.array([[{"y": None}, {"y": 1}], [None]], pa.list_(pa.struct({"y": pa.int32()})))
    table = pa.table({"hour": pa.array([None, 1], pa.int8()), "seq": [[1, None], None], "is_pseudo": [True, None], "items": item})
    assert nulls(table, ["hour", "seq", "is_pseudo", "items.y"]) == [
        "hour has 1 nulls among 2 values of type int8",
        "seq has 1 nulls among 2 values of type int64",
        "is_pseudo has 1 nulls among 2 values of type bool",
        "items.y has 2 nulls among 3 values of type int32",
    ]


@pytest.mark.parametrize(
    "type_, kind",
    [
        (pa.int16(), "int16"), (pa.float64(), "double"), (pa.bool_(), "bool"), (pa.date32(), "microseconds"),
        (pa.timestamp("ns"), "microseconds"), (pa.large_string(), "string"), (pa.list_(pa.float32()), "list<float>"),
        (pa.list_(pa.string()), None), (pa.list_(pa.list_(pa.int32())), None), (pa.struct({"a": pa.int32()}), None),
        (pa.map_(pa.string(), pa.int32()), None), (pa.decimal128(5), None), (pa.binary(), None), (pa.list_(pa.struct({})), None),
    ],
)  # fmt: skip
def test_kinds(type_, kind):
    assert kind_of(type_) == kind


def test_writing_into_a_batch_warns_of_nothing(recwarn):
    batch = tensors(TABLE.combine_chunks(), ["hour", "seq"])
    batch["hour"] += 1
    assert isinstance(batch["hour"], torch.Tensor) and not recwarn.list
