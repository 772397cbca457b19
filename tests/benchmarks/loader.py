"""The loader against other ways from parquet to torch: items a second, each in a process of its own, in turns.

`python -m tests.benchmarks.loader [--items 4000000] [--rounds 3]` makes requests of 5 to 15 items with 8 columns of the request and 18
of the item (flat: 26 columns of every item), in 8 files of 2 row groups, zstd, as a Delta table of requests and as one of the same
rows flat. Everything is read from the page cache, and every row counted. A process runs for a moment first, then one epoch, the
opening of the table included, or as much of it as `--seconds` allow. Goal: shuffled, 0.6 of delta-rs that does not shuffle.

petastorm and datasets run in environments of their own under ~/.cache/sluice/benchmarks (made by uv on first use), with our torch.
"""

import argparse
import json
import os
import shutil
import site
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

REQUESTS, BUFFER = 4096, 10_000  # requests of a batch of ours; rows that datasets shuffles, its own example
QUEUE = 200_000  # rows that petastorm shuffles
FILES, PER_REQUEST = 8, 10
ENVIRONMENTS = {
    "petastorm": ("petastorm==0.13.1", "pyarrow==14.0.2", "numpy<2", "pandas<3", "pyspark<4", "setuptools<81"),
    "datasets": ("datasets==5.2.0",),
}
GOAL = 0.6


def generate(folder: Path, num_items: int) -> None:
    """Hashes, buckets, prices, labels and weights, as a ranker's examples have them."""
    import numpy as np
    import pyarrow as pa
    from deltalake import WriterProperties, write_deltalake

    draw = np.random.default_rng(17)

    def whole(num: int, *bits: int) -> dict[str, np.ndarray]:
        return {f"bits_{bit}_{n}": draw.integers(0, 1 << bit, num, dtype=np.int32) for n, bit in enumerate(bits)}

    for _ in range(FILES):
        num = num_items // FILES // PER_REQUEST
        lengths = draw.integers(PER_REQUEST // 2, PER_REQUEST + PER_REQUEST // 2 + 1, num)
        total = int(lengths.sum())
        request = whole(num, 2, 5, 7, 20, 24, 30) | {"at": draw.integers(1 << 50, 1 << 51, num), "p": draw.random(num)}
        request = {f"request_{name}": values for name, values in request.items()}
        item = whole(total, 3, 4, 5, 5, 6, 7, 8, 10, 12, 16, 20, 22, 24) | {"y_click": (draw.random(total) < 0.05).astype(np.int32)}
        item |= {"y_pay": (draw.random(total) < 0.01).astype(np.int32), "weight": draw.choice([1.0, 2.5, 8.0], total)}
        item |= {"score": draw.random(total, dtype=np.float32), "key": draw.integers(0, 1 << 40, total)}
        structs = pa.StructArray.from_arrays([pa.array(values) for values in item.values()], list(item))
        offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
        grouped = pa.table(request | {"items": pa.ListArray.from_arrays(offsets, structs)})
        flat = pa.table({name: np.repeat(values, lengths) for name, values in request.items()} | item)
        for name, table in (("grouped", grouped), ("flat", flat)):
            sizes = WriterProperties(compression="ZSTD", max_row_group_size=len(table) // 2 + 1)
            write_deltalake(folder / name, table, mode="append", writer_properties=sizes)


def ours(folder: Path, requests_per_batch: int) -> Iterator[int]:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from deltalake import DeltaTable

    from training.loader import Loader
    from training.manifest import File, Manifest

    added = pa.table(DeltaTable(folder / "grouped").get_add_actions(flatten=True)).to_pylist()
    files = tuple(File(a["path"], "2026-01-01", a["size_bytes"], a["num_records"]) for a in sorted(added, key=lambda a: a["path"]))
    manifest = Manifest("benchmark", "made_up", str(folder / "grouped"), 0, 1, "", ("2026-01-01",), files, {}, {}, False, {}, "")
    schema = pq.read_schema(folder / "grouped" / files[0].path)
    columns = [name for name in schema.names if name != "items"] + [
        f"items.{field.name}" for field in schema.field("items").type.value_type
    ]
    assert len(columns) == 26
    for batch in Loader(manifest, columns, requests_per_batch=requests_per_batch, seed=1):
        yield len(batch["request_of_item"])


def delta_rs(folder: Path, table: str, **options: int) -> Iterator[int]:
    """Batches in the order of the files, without a shuffle."""
    import pyarrow as pa
    import torch
    from deltalake import DeltaTable

    def tensor(array: pa.Array) -> torch.Tensor:
        return torch.from_numpy(array.to_numpy())

    for batch in DeltaTable(folder / table).to_pyarrow_dataset().to_batches(**options):
        arrays = dict(zip(batch.schema.names, batch.columns, strict=True))
        items = arrays.pop("items", None)
        if items is not None:
            structs = items.flatten()
            arrays |= dict(zip([field.name for field in structs.type], structs.flatten(), strict=True))
        tensors = {name: tensor(array) for name, array in arrays.items()}
        assert len(tensors) == 26
        yield len(tensors["y_click"])


def delta_rs_without_tensors(folder: Path) -> Iterator[int]:
    from deltalake import DeltaTable

    for batch in DeltaTable(folder / "flat").to_pyarrow_dataset().to_batches():
        yield batch.num_rows


def petastorm(folder: Path, queue: int = 0, **options: bool) -> Iterator[int]:
    """Row groups in another order; with `shuffle_rows` also the rows within each, with a queue those that are in it together."""
    from petastorm import make_batch_reader
    from petastorm.pytorch import BatchedDataLoader

    files = [path.as_uri() for path in sorted((folder / "flat").glob("*.parquet"))]
    with make_batch_reader(files, num_epochs=1, workers_count=2, shuffle_row_groups=True, **options) as reader:
        for batch in BatchedDataLoader(reader, batch_size=4096, shuffling_queue_capacity=queue):
            assert len(batch) == 26
            yield len(batch["y_click"])


def datasets(folder: Path, buffer: int) -> Iterator[int]:
    from datasets import load_dataset

    files = [str(path) for path in sorted((folder / "flat").glob("*.parquet"))]
    rows = load_dataset("parquet", data_files=files, split="train", streaming=True)
    rows = rows.shuffle(seed=1, buffer_size=buffer) if buffer else rows
    for batch in rows.with_format("torch").iter(batch_size=4096):
        assert len(batch) == 26
        yield len(batch["y_click"])


CONTESTANTS: dict[str, Callable[[Path], Iterator[int]]] = {
    "ours, shuffled, 4096 requests a batch": lambda folder: ours(folder, REQUESTS),
    "ours, shuffled, 410 requests a batch": lambda folder: ours(folder, REQUESTS // PER_REQUEST),
    "delta-rs, flat table": lambda folder: delta_rs(folder, "flat"),
    "delta-rs, flat table, 4096 rows a batch": lambda folder: delta_rs(folder, "flat", batch_size=4096),
    "delta-rs, flat table, no tensors": delta_rs_without_tensors,
    "delta-rs, table of requests": lambda folder: delta_rs(folder, "grouped"),
    "petastorm, row groups in another order": petastorm,
    "petastorm, and rows within each shuffled": lambda folder: petastorm(folder, shuffle_rows=True),
    "petastorm, queue of 200,000 shuffled": lambda folder: petastorm(folder, QUEUE),
    "datasets, in order": lambda folder: datasets(folder, 0),
    "datasets, buffer of 10,000 shuffled": lambda folder: datasets(folder, BUFFER),
}


def measure(contestant: str, folder: Path, seconds: float) -> tuple[int, float, float]:
    """Items, seconds and processor seconds of all threads, of an epoch or of the start of one, after a warm-up."""
    import torch

    torch.set_num_threads(1)  # with more, petastorm's queue was five times slower on two cores that others used too
    for limit in (min(seconds, 5.0), seconds):
        started, worked, num = time.perf_counter(), time.process_time(), 0
        batches = CONTESTANTS[contestant](folder)
        for size in batches:
            num += size
            if time.perf_counter() - started > limit:
                break
        taken, work = time.perf_counter() - started, time.process_time() - worked
        batches.close()
    return num, taken, work


def python_of(contestant: str) -> str:
    """The interpreter that runs it: this one, or one with the peer's own packages before ours. Raises CalledProcessError."""
    packages = ENVIRONMENTS.get(contestant.partition(",")[0])
    if packages is None:
        return sys.executable
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    home = cache / "sluice" / "benchmarks" / contestant.partition(",")[0]
    if not (home / "made").exists():
        uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}") or "uv"
        print(f"making {home}", flush=True)
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, home], check=True)
        subprocess.run([uv, "pip", "install", "--quiet", "--python", home / "bin" / "python", *packages], check=True)
        (folder,) = (home / "lib").glob("python*/site-packages")
        (folder / "torch_of_ours.pth").write_text("\n".join(site.getsitepackages()))
        (home / "made").touch()
    return str(home / "bin" / "python")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.add_argument("--items", type=int, default=4_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20, help="at most, of a contestant in a round")
    parser.add_argument("--only", default="", help="contestants whose name begins so")
    parser.add_argument("--run", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        print(json.dumps(measure(options.run, options.folder, options.seconds)), flush=True)
        os._exit(0)  # threads of peers that still read would end the process with an error
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder), options.items)
        report(race([name for name in CONTESTANTS if name.startswith(options.only)], options, folder))


def race(names: list[str], options: argparse.Namespace, folder: str) -> dict[str, list[tuple[float, float]]]:
    """Items a second, and a processor second, of each contestant in each round; without those that cannot run here."""
    rates: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for _ in range(options.rounds):
        for name in [name for name in names if name in rates]:
            try:
                command = [python_of(name), __file__, "--run", name, "--folder", folder, "--seconds", str(options.seconds)]
                environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "HF_HUB_OFFLINE": "1"}
                done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
            except (subprocess.CalledProcessError, OSError) as error:
                del rates[name]
                told = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
                print(f"left out, because it cannot run here: {name}: {told[-1]}", flush=True)
                continue
            num, seconds, work = json.loads(done.stdout.splitlines()[-1])
            rates[name].append((num / seconds, num / work))
            print(f"  {name:40} {num:12,} items {seconds:8.2f} s, of processors {work:8.2f} s", flush=True)
    return rates


def report(rates: dict[str, list[tuple[float, float]]]) -> None:
    medians, of_processors = ({name: median(pair[n] for pair in each) for name, each in rates.items()} for n in (0, 1))
    ours, *_ = medians.values()
    for name, rate in medians.items():
        a_processor = f"{of_processors[name] / 1e6:7.3f} M a processor second"
        print(f"{name:40} {rate / 1e6:7.3f} M items/s   ours / this {ours / rate:6.2f}   {a_processor}")
    unshuffled = medians.get("delta-rs, flat table")
    peers = {name: rate for name, rate in medians.items() if name.partition(",")[0] in ENVIRONMENTS and name.endswith(" shuffled")}
    if unshuffled:
        print(f"goal of {GOAL} of delta-rs: {'reached' if ours >= GOAL * unshuffled else 'missed'}, {ours / unshuffled:.2f}")
    for name, rate in peers.items():
        print(f"goal of ahead of {name}: {'reached' if ours > rate else 'missed'}, {ours / rate:.1f} times")


if __name__ == "__main__":
    main()
