"""The loader against plain Python over the same files: each request once, tensors as the rows say, errors that name the file."""

import os
import pickle
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from itertools import chain, pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from schemas.contract import ContractError
from training.groups import Groups
from training.loader import Loader, made_ahead, rank_and_world, to_device
from training.manifest import File, Manifest, ManifestError
from training.tensors import Ragged

NUMBER = pa.int64()
ITEM = pa.struct({
    "key": pa.int64(), "price": pa.int32(), "score": pa.float64(), "is_exposed": pa.bool_(),
    "tokens": pa.list_(pa.int32()), "title": pa.string(),
})  # fmt: skip
SCHEMA = pa.schema({
    "number": NUMBER, "rate": pa.float32(), "is_pseudo": pa.bool_(), "seen_on": pa.date32(), "requested_at": pa.timestamp("us", tz="UTC"),
    "seq_item": pa.list_(pa.int32()), "seq_age": pa.list_(pa.float64()), "query": pa.string(), "items": pa.list_(ITEM),
    "page_context": pa.map_(pa.string(), pa.string()),
})  # fmt: skip
COLUMNS = [name for name in SCHEMA.names if name not in ("items", "page_context")] + [f"items.{field.name}" for field in ITEM]
START = datetime(2026, 1, 1, tzinfo=UTC)


def made_up(number: int) -> dict:
    """A request whose values all follow from its number: every third without items, nulls wherever they may be."""
    items = [
        {
            "key": 100 * number + n, "price": number * n - 3, "score": None if n % 2 else number / 7, "is_exposed": n % 3 == 0,
            "tokens": list(range(n % 4)), "title": None if n == 4 else f"title {number}.{n}",
        }
        for n in range((number * 7) % 6)
    ]  # fmt: skip
    return {
        "number": number, "rate": None if number % 5 == 0 else number / 3, "is_pseudo": number % 2 == 0,
        "seen_on": date(2026, 1, 1) + timedelta(days=number), "requested_at": START + timedelta(microseconds=number),
        "seq_item": list(range(number % 4)), "seq_age": None if number % 4 == 0 else [None, *[0.5] * (number % 4 - 1)],
        "query": None if number % 6 == 0 else f"query {number}", "items": items, "page_context": [("page", str(number))],
    }  # fmt: skip


def published(root: Path, sizes: list[int], *, group_rows: int = 7, rows=made_up, schema: pa.Schema = SCHEMA) -> Manifest:
    """Files of these numbers of rows, one a day, and the manifest that names them."""
    files, first = [], 0
    for n, size in enumerate(sizes):
        day = str(date(2026, 1, 1) + timedelta(days=n))
        path = f"day={day}/b=run/part-{n}.parquet"
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        table = pa.Table.from_pylist([rows(number) for number in range(first, first + size)], schema)
        pq.write_table(table, root / path, row_group_size=group_rows)
        files.append(File(path, day, (root / path).stat().st_size, size))
        first += size
    return manifest_of(root, files)


def manifest_of(root: Path | str, files: list[File]) -> Manifest:
    days = tuple(sorted({file.day for file in files}))
    return Manifest("pinned", "made_up", str(root), 3, 1, "", days, tuple(files), {}, {}, False, {}, "")


def numbers(batches) -> list[list[int]]:
    return [batch["number"].tolist() for batch in batches]


sizes_of_files = st.lists(st.integers(0, 40), min_size=1, max_size=5)


@given(sizes_of_files, st.integers(1, 15), st.integers(1, 30), st.integers(1, 5), st.data())
@settings(max_examples=30, deadline=None)
def test_any_stops_and_worlds_lose_nothing_and_repeat_nothing(sizes, group_rows, requests_per_batch, window, data):
    with tempfile.TemporaryDirectory() as folder:
        manifest = published(Path(folder), sizes, group_rows=group_rows)
        options = {"requests_per_batch": requests_per_batch, "seed": 1, "window": window}
        num_steps = Loader(manifest, ["number"], **options).num_steps
        stops = sorted(data.draw(st.lists(st.integers(0, num_steps), max_size=2)))
        seen = Counter()
        for start, stop in pairwise([0, *stops, num_steps]):
            world_size = data.draw(st.integers(1, 4))
            for rank in range(world_size):
                loader = Loader(manifest, ["number", "items.key"], rank=rank, world_size=world_size, start=(2, start), **options)
                assert (len(loader), loader.num_steps) == (num_steps - start, num_steps)
                made = list(loader)
                assert len(made) == num_steps - start, "ranks have equal steps"
                seen.update(chain(*numbers(made[: stop - start])))
        assert seen == Counter(range(sum(sizes)))


@pytest.fixture(scope="module")
def manifest(tmp_path_factory) -> Manifest:
    return published(tmp_path_factory.mktemp("table"), [50, 1, 0, 73, 20])


def test_order_follows_from_manifest_seed_and_epoch(manifest):
    def order(seed, epoch):
        return numbers(Loader(manifest, ["number"], requests_per_batch=16, seed=seed).at(epoch))

    assert order(1, 0) == order(1, 0)
    different = [tuple(chain(*order(seed, epoch))) for seed in (1, 2) for epoch in (0, 1)]
    assert len(set(different)) == 4
    assert different[0] != tuple(range(144))


def expected(batch_numbers: list[int], name: str) -> list:
    """What plain Python reads of these requests: the rule of nulls and the units written out once more."""
    rows = [made_up(number) for number in batch_numbers]
    column, _, field = name.partition(".")
    values = [item[field] for row in rows for item in row[column]] if field else [row[name] for row in rows]
    if name == "seen_on":
        return [(value - date(1970, 1, 1)).days * 86_400_000_000 for value in values]
    if name == "requested_at":
        return [int(value.timestamp()) * 1_000_000 + value.microsecond for value in values]
    if name in ("rate", "items.score"):
        return [float("nan") if value is None else np.float32(value) if name == "rate" else value for value in values]
    return [[float("nan") if part is None else part for part in value or []] for value in values] if name[:4] == "seq_" else values


def dtypes(batch: dict) -> dict:
    return {name: value.values.dtype if isinstance(value, Ragged) else getattr(value, "dtype", list) for name, value in batch.items()}


def lists(ragged: Ragged) -> list[list]:
    return [part.tolist() for part in torch.tensor_split(ragged.values, ragged.offsets[1:-1])] if len(ragged.offsets) > 1 else []


@pytest.mark.parametrize("requests_per_batch", [1, 16, 1000])
def test_tensors_are_what_the_rows_say(manifest, requests_per_batch):
    made = list(Loader(manifest, [*COLUMNS, "day"], requests_per_batch=requests_per_batch, seed=1))
    assert sum(len(batch["number"]) for batch in made) == 144
    for batch in made:
        held = batch["number"].tolist()
        for name in COLUMNS:
            value = batch[name]
            got = lists(value) if isinstance(value, Ragged) else value if isinstance(value, list) else value.tolist()
            np.testing.assert_equal(got, expected(held, name), name)
        assert batch["request_of_item"].tolist() == [n for n, number in enumerate(held) for _ in made_up(number)["items"]]
        days = [0 if number < 50 else 1 if number < 51 else 3 if number < 124 else 4 for number in held]
        assert batch["day"].tolist() == [int(START.timestamp() + n * 86_400) * 1_000_000 for n in days]
    assert dtypes(made[0]) == {
        "number": torch.int64, "rate": torch.float32, "is_pseudo": torch.bool, "seen_on": torch.int64, "requested_at": torch.int64,
        "seq_item": torch.int32, "seq_age": torch.float64, "query": list, "items.key": torch.int64, "items.price": torch.int32,
        "items.score": torch.float64, "items.is_exposed": torch.bool, "items.tokens": torch.int32, "items.title": list,
        "day": torch.int64, "request_of_item": torch.int64,
    }  # fmt: skip


def test_a_table_without_items_has_none(tmp_path):
    flat = published(
        tmp_path, [10, 10], rows=lambda n: {"number": n, "query": "q"}, schema=pa.schema({"number": NUMBER, "query": pa.string()})
    )
    (batch,) = Loader(flat, ["number", "query"], requests_per_batch=20, seed=1)
    assert sorted(batch) == ["number", "query"] and sorted(batch["number"].tolist()) == list(range(20))


def test_nothing_but_the_day_can_be_read(manifest):
    assert sum(len(batch["day"]) for batch in Loader(manifest, ["day"], requests_per_batch=16, seed=1)) == 144


def test_an_empty_share_of_a_short_batch_has_every_column_and_runs(manifest):
    ranks = [list(Loader(manifest, COLUMNS, requests_per_batch=143, seed=1, rank=rank, world_size=3)) for rank in range(3)]
    full, empty = ranks[2]
    assert [len(made[1]["number"]) for made in ranks] == [1, 0, 0]
    assert dtypes(empty) == dtypes(full)
    table = torch.nn.Embedding(10, 4)
    pooled = torch.nn.functional.embedding_bag(empty["seq_item"].values.long(), table.weight, empty["seq_item"].offsets[:-1])
    pooled[empty["request_of_item"]].sum().backward()
    assert torch.equal(table.weight.grad, torch.zeros(10, 4))


def counted(monkeypatch) -> list[int]:
    """The row groups that are read from here on."""
    reads, read = [], Groups.read
    monkeypatch.setattr(Groups, "read", lambda groups, number, rows: reads.append(number) or read(groups, number, rows))
    return reads


def test_a_resume_reads_the_windows_it_needs_alone(tmp_path, monkeypatch):
    loader = Loader(published(tmp_path, [100, 100], group_rows=10), ["number"], requests_per_batch=10, seed=1, window=4)
    whole, reads = numbers(loader), counted(monkeypatch)
    assert numbers(loader.at(0, 16)) == whole[16:]
    assert len(reads) == 4, "80 of 200 requests are left of window 4, 40 of window 5, and no group of 16 before"
    assert numbers(loader.at(0, 20)) == [] and len(reads) == 4


def test_ranks_read_a_part_of_the_row_groups(tmp_path, monkeypatch):
    manifest, reads = published(tmp_path, [640], group_rows=10), counted(monkeypatch)
    for rank in range(4):
        list(Loader(manifest, ["number"], requests_per_batch=160, seed=1, window=64, rank=rank, world_size=4))
    assert 64 <= len(reads) <= 110, f"4 ranks read {len(reads)} times of 64 row groups"


def same(a: dict, b: dict) -> bool:
    def facts(value):
        return value if isinstance(value, list) else [part.tolist() for part in value] if isinstance(value, Ragged) else value.tolist()

    return list(a) == list(b) and all(np.array_equal(repr(facts(a[name])), repr(facts(b[name]))) for name in a)


@pytest.mark.parametrize("num_workers", [1, 2])
def test_workers_of_a_dataloader_give_the_same_batches_in_order(manifest, num_workers):
    loader = Loader(manifest, COLUMNS, requests_per_batch=20, seed=1, start=(3, 2))
    made = list(DataLoader(loader, batch_size=None, num_workers=num_workers))
    assert len(made) == len(loader) == 6
    assert all(same(*pair) for pair in zip(made, loader, strict=True))


def test_a_loader_can_be_sent_to_another_process(manifest):
    loader = Loader(manifest, COLUMNS, requests_per_batch=20, seed=1)
    assert all(same(*pair) for pair in zip(pickle.loads(pickle.dumps(loader)), loader, strict=True))


def test_every_tensor_is_pinned_and_moved(manifest, monkeypatch):
    """By the loader itself, and by a DataLoader. Without a GPU there is nothing to pin, so the call is counted."""
    from torch.utils.data._utils.pin_memory import pin_memory

    pinned = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor, *_: pinned.append(tensor) or tensor)
    batch = next(iter(Loader(manifest, COLUMNS, requests_per_batch=1000, seed=1, pin_memory=True)))
    tensors = 2 * 3 + len(COLUMNS) - 3 - 2 + 1  # three Ragged, two of strings, request_of_item
    assert len(pinned) == tensors
    assert isinstance(pin_memory(batch)["seq_item"], Ragged) and len(pinned) == 2 * tensors
    moved = to_device(batch, "meta")
    assert moved["items.key"].is_meta and moved["seq_item"].offsets.is_meta and moved["query"] == batch["query"]


def test_a_batch_that_is_kept_keeps_no_window(tmp_path):
    manifest = published(tmp_path, [20_000], group_rows=20_000, rows=lambda n: {"number": n}, schema=pa.schema({"number": NUMBER}))
    held = pa.total_allocated_bytes()
    batches = iter(Loader(manifest, ["number"], requests_per_batch=10, seed=1))
    _, batch = next(batches), next(batches)
    batches.close()
    assert len(batch["number"]) == 10 and pa.total_allocated_bytes() - held < 10_000, "of a window of 160,000 bytes"


def test_batches_are_made_ahead_but_not_far():
    made, ended = [], []

    def source():
        try:
            for n in range(100):
                made.append(n)
                yield n
        finally:
            ended.append(len(made))

    numbers = source()
    ahead = made_ahead(numbers, 3)
    assert next(ahead) == 0
    time.sleep(0.05)
    assert len(made) == 4, "one given out and three made ahead"
    assert [next(ahead) for _ in range(3)] == [1, 2, 3] and not ended
    ahead.close()
    assert ended == [len(made)] and len(made) <= 7
    assert list(made_ahead(source(), 200)) == list(range(100))


def test_who_stops_in_the_middle_leaves_no_thread(manifest):
    before = threading.active_count()
    for _ in Loader(manifest, COLUMNS, requests_per_batch=2, seed=1, window=2):
        break
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before


def test_roots_may_be_addresses(manifest):
    there = manifest_of(Path(manifest.root).as_uri(), list(manifest.files))
    options = {"requests_per_batch": 20, "seed": 1}
    assert numbers(Loader(there, ["number"], **options)) == numbers(Loader(manifest, ["number"], **options))


def writers() -> list[pa.Schema]:
    """The same columns as others write them: named levels of lists, nullability, order, strings with long offsets."""
    fields = list(ITEM)
    required = [pa.field(field.name, field.type, nullable=field.name != "key") for field in fields]
    elements = [
        pa.field("item", ITEM), pa.field("element", pa.struct(required), nullable=False), pa.field("element", pa.struct(fields[::-1])),
        pa.field("element", pa.struct([pa.field(f.name, pa.large_string()) if f.name == "title" else f for f in fields])),
    ]  # fmt: skip
    others = [field for field in SCHEMA if field.name != "items"]
    return [pa.schema([pa.field("items", pa.list_(element)), *others]) for element in elements]


def test_files_of_other_writers_give_the_same_tensors(tmp_path):
    files = []
    for n, schema in enumerate([SCHEMA, SCHEMA, *writers()]):
        root = tmp_path / str(n)
        root.mkdir()
        pq.write_table(pa.Table.from_pylist([made_up(k) for k in range(20)], schema), root / "part", use_compliant_nested_type=n != 1)
        files.append(File(f"{n}/part", "2026-01-01", (root / "part").stat().st_size, 20))
    for ordered in (files, files[::-1]):
        made = list(Loader(manifest_of(tmp_path, ordered), COLUMNS, requests_per_batch=7, seed=1))
        assert Counter(chain(*numbers(made))) == {k: 6 for k in range(20)}
        for batch in made:
            assert batch["items.key"].tolist() == expected(batch["number"].tolist(), "items.key")
            assert batch["items.title"] == expected(batch["number"].tolist(), "items.title")
            assert lists(batch["items.tokens"]) == expected(batch["number"].tolist(), "items.tokens")


def test_files_that_are_not_as_pinned_are_told_before_the_first_batch(tmp_path):
    manifest = published(tmp_path, [10, 20, 30, 40, 50])
    gone, grown, broken, fewer = (tmp_path / file.path for file in manifest.files[:4])
    gone.unlink()
    grown.write_bytes(grown.read_bytes() + b"more")
    broken.write_bytes(bytes(broken.stat().st_size))
    rows = [File(f.path, f.day, f.size, f.rows + (n == 3)) for n, f in enumerate(manifest.files)]
    with pytest.raises(ManifestError) as error:
        Loader(manifest_of(tmp_path, rows), ["number"], requests_per_batch=2, seed=1)
    told = str(error.value).splitlines()
    size = manifest.files[1].size
    assert told[0].startswith(f"manifest pinned of made_up does not agree with its 5 files under {tmp_path}; restore the files from a copy")
    assert told[1] == f"  {manifest.files[0].path} is gone"
    assert told[2] == f"  {manifest.files[1].path} has {size + 4:,} bytes, the manifest says {size:,}"
    assert told[3].startswith(f"  {manifest.files[2].path} cannot be read: ")
    assert told[4] == f"  {manifest.files[3].path} has 40 rows, the manifest says 41"
    assert len(told) == 5 and fewer.exists()


def test_a_file_broken_behind_its_footer_is_named(tmp_path):
    manifest = published(tmp_path, [50])
    loader = Loader(manifest, ["items.title"], requests_per_batch=2, seed=1)
    path = tmp_path / manifest.files[0].path
    content = bytearray(path.read_bytes())
    content[4 : len(content) // 2] = bytes(len(content) // 2 - 4)
    path.write_bytes(content)
    with pytest.raises(ContractError, match=r"made_up, row group \d of day=2026-01-01/b=run/part-0.parquet .* cannot be read any more: "):
        list(loader)


@pytest.mark.parametrize(
    "name, spoilt", [("number", {"number": None}), ("items.price", {"items": [{"price": None}]}), ("seq_item", {"seq_item": [1, None]})]
)
def test_nulls_that_no_tensor_can_hold_are_named(tmp_path, name, spoilt):
    manifest = published(tmp_path, [30], rows=lambda n: made_up(n) | (spoilt if n == 8 else {}))
    kind = "int64" if name == "number" else "int32"
    message = rf"made_up, row group 1 of day=2026-01-01/b=run/part-0.parquet under \S+: {name} has 1 nulls among \d+ values of type {kind}$"
    with pytest.raises(ContractError, match=message):
        list(Loader(manifest, [name], requests_per_batch=2, seed=1))


def test_columns_that_cannot_be_read_are_told_with_those_that_can(manifest):
    asked = ["numbr", "items.colour", "items", "page_context"]
    with pytest.raises(ValueError) as error:
        Loader(manifest, asked, requests_per_batch=2, seed=1)
    assert str(error.value) == (
        "manifest pinned of made_up: there is no column numbr; there is no column items.colour; no tensor can hold items; "
        "no tensor can hold page_context. Columns: day, number, rate, is_pseudo, seen_on, requested_at, seq_item, seq_age, query, "
        "items.key, items.price, items.score, items.is_exposed, items.tokens, items.title"
    )


def test_a_column_that_older_files_lack_is_told(tmp_path):
    manifest = published(tmp_path, [30])
    older = published(tmp_path / "older", [5], rows=lambda n: {"number": n}, schema=pa.schema({"number": pa.int32()}))
    both = manifest_of(tmp_path, [File(f"older/{older.files[0].path}", "2025-12-31", older.files[0].size, 5), *manifest.files])
    with pytest.raises(ManifestError) as error:
        Loader(both, ["number", "rate"], requests_per_batch=2, seed=1)
    assert "part-0.parquet has number as int32, the newest file as int64" in str(error.value)
    assert "part-0.parquet has rate as no column, the newest file as float" in str(error.value)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"rank": 2, "world_size": 2}, "rank is 2, must be from 0 to 1 with a world_size of 2"),
        ({"rank": -1}, "rank is -1, must be from 0 to 0 with a world_size of 1"),
        ({"world_size": 0}, "world_size is 0, must be at least 1"),
        ({"requests_per_batch": 0, "window": 0}, "requests_per_batch is 0, must be at least 1; window is 0, must be at least 1"),
        ({"prefetch": 0}, "prefetch is 0, must be at least 1"),
        ({"start": (0, 11)}, r"start is \(0, 11\), .* a step from 0 to 10"),
        ({"start": (-1, 0)}, r"start is \(-1, 0\)"),
    ],
)
def test_wrong_arguments_are_told(manifest, options, message):
    with pytest.raises(ValueError, match=message):
        Loader(manifest, ["number"], **{"requests_per_batch": 15, "seed": 1} | options)


def test_no_files_are_no_steps(tmp_path):
    loader = Loader(manifest_of(tmp_path, []), ["number"], requests_per_batch=15, seed=1)
    assert loader.num_steps == 0 and list(loader) == []


def test_rank_and_world_are_torchruns(monkeypatch):
    assert rank_and_world() == (0, 1)
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "5")
    assert rank_and_world() == (3, 5)


RANKS = """
import pickle, sys
import torch, torch.distributed as dist
from training.loader import Loader, rank_and_world
dist.init_process_group("gloo")
rank, world_size = rank_and_world()
manifest = pickle.load(open(sys.argv[1], "rb"))
loader = Loader(manifest, ["number", "items.price"], requests_per_batch=13, seed=1, rank=rank, world_size=world_size)
seen = torch.zeros(144, dtype=torch.int64)
for batch in loader:
    seen += torch.bincount(batch["number"], minlength=144)
    dist.all_reduce(torch.tensor([len(batch["number"])]))  # hangs where ranks have unequal steps
dist.all_reduce(seen)
if rank == 0:
    print("seen", seen.tolist() == [1] * 144, "steps", loader.num_steps)
dist.destroy_process_group()  # its threads, left to run, abort the process as it ends
"""


@pytest.mark.slow
def test_two_processes_of_torchrun_read_each_request_once(manifest, tmp_path):
    (tmp_path / "ranks.py").write_text(RANKS)
    (tmp_path / "manifest.pickle").write_bytes(pickle.dumps(manifest))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(tmp_path / "ranks.py")]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, str(tmp_path / "manifest.pickle")], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "seen True steps 12"
