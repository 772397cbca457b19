"""Bytes of grouped and of flat rows against files that DuckDB flattens, at every length of the sequences."""

import json
import random
from datetime import date
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.messages import UsageError
from jobs.run import publish_rows
from jobs.storage import NotPublishedError, open_table
from schemas.contract import load
from schemas.hhsft_examples import CONTRACT, REQUEST_FEATURES
from sluice.sizes import LENGTHS, facts, report, sequences_of, shortened, shuffled
from tests.frames import frame

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

DAY = date(2026, 1, 5)
SEQUENCES = [f.name for f in REQUEST_FEATURES if f.kind == "sequence"]
REQUESTS, SAMPLES = 150, 12


@pytest.fixture(scope="module")
def lake(spark: "SparkSession", tmp_path_factory: pytest.TempPathFactory) -> str:
    """Users with 0 to 100 acts, each with several requests of a dozen samples, through the gate."""
    lake, rng = str(tmp_path_factory.mktemp("lake")), random.Random(3)
    acts = {user: {name: [rng.randrange(1, 4) for _ in range(user * 5 % 101)] for name in SEQUENCES} for user in range(30)}
    sample = {"is_exposed": True, "sample_type": "exposed", "p_inclusion": 1.0, "weight": 1.0, "item_category": 1}
    rows = [
        {"request_id": f"r{n}", "user_id": f"u{n % 30}", "domain_id": 1, "query_source": "native", "user_activity": 2, **acts[n % 30]}
        | {"seq_age": sorted(acts[n % 30]["seq_age"]), "items": [sample | {"item_id": f"i{m}", "item_hash": 1 + m} for m in range(SAMPLES)]}
        for n in range(REQUESTS)
    ]
    draft = {"seen": 0, "code": "c", "contract": "c", "suite": "s", "options": {}, "inputs": {}, "accounts": [], "reasons": ["made"]}
    outcome = publish_rows(spark, lake, CONTRACT, frame(spark, CONTRACT, rows), DAY, {}, draft | {"label_as_of": "2026-01-13"})
    assert outcome.receipt["rows"] == REQUESTS and not outcome.receipt["quarantined"]
    return lake


def test_bytes_are_those_of_files_at_every_length(lake, tmp_path):
    found = facts(lake, CONTRACT, DAY)
    assert (found["requests"], found["samples"]) == (REQUESTS, REQUESTS * SAMPLES)
    assert [row["acts"] for row in found["sizes"]] == list(LENGTHS) and sequences_of(CONTRACT) == SEQUENCES
    files = [path.removeprefix("file://") for path in open_table(lake, CONTRACT).files([DAY])]
    whole = pa.concat_tables(pq.ParquetFile(path).read() for path in files).append_column("day", pa.array([f"{DAY}"] * REQUESTS))
    means = [sum(min(user * 5 % 101, length) for user in range(30)) / 30 for length in LENGTHS]
    for row, mean in zip(found["sizes"], means, strict=True):
        cut = ", ".join(f"{name}[1:{row['acts']}] as {name}" for name in SEQUENCES)
        with duckdb.connect() as connection:
            connection.register("whole", whole.replace_schema_metadata(None))  # Spark's own schema, 7 kB
            grouped = connection.sql(f"select * replace ({cut}) from whole").to_arrow_table()
            connection.register("grouped", grouped)
            flat = connection.sql("select * exclude (items), unnest(items, max_depth := 2) from grouped").to_arrow_table()
        sizes = {}
        for name, table in (("grouped", grouped), ("flat", flat)):
            pq.write_table(table, tmp_path / name, compression="zstd")
            sizes[name] = (tmp_path / name).stat().st_size
        assert flat.num_rows == REQUESTS * SAMPLES and row["mean_acts"] == round(mean, 1)
        assert {name: row[name] for name in sizes} == pytest.approx(sizes, rel=0.1)
        assert row["ratio"] == row["grouped"] / row["flat"] and row["ratio_shuffled"] == row["grouped"] / row["shuffled"]
        assert row["shuffled"] >= row["flat"], "what lies side by side is folded"
    memory = [row["in_memory"] for row in found["sizes"]]
    assert memory == sorted(memory, reverse=True) and memory[-1] < 0.2 < memory[0] < 1  # 1 / 12 for what is of the request


def test_lists_are_cut_and_nothing_else_changes():
    rows = pa.table({"a": [[1, 2, 3], [], [4]], "b": [[1], [2], [3]]}).slice(0, 3)
    assert [shortened(rows, ["a"], n)["a"].to_pylist() for n in (0, 2, 9)] == [[[], [], []], [[1, 2], [], [4]], [[1, 2, 3], [], [4]]]
    assert shortened(rows.slice(1), ["a", "b"], 1).to_pydict() == {"a": [[], [4]], "b": [[2], [3]]}


def test_shuffled_rows_are_the_same_rows():
    rows = pa.table({"a": list(range(100)), "b": [n // 10 for n in range(100)]})
    assert shuffled(rows) == shuffled(rows) != rows and shuffled(rows).sort_by("a") == rows


def test_a_person_reads_a_line_for_each_length_and_a_program_one_document(lake, capsys):
    report(lake, CONTRACT, DAY, False)
    shown = capsys.readouterr().out
    assert f"{REQUESTS} requests, 1,800 samples" in shown and all(f"at most {n}" in shown for n in LENGTHS) and "0.50" in shown
    report(lake, CONTRACT, DAY, True)
    assert json.loads(capsys.readouterr().out) == facts(lake, CONTRACT, DAY)


def test_wrong_use_is_told(lake):
    with pytest.raises(UsageError, match="events: one row is one event_id and holds no list"):
        facts(lake, load("events"), DAY)
    with pytest.raises(NotPublishedError, match="2026-01-07"):
        facts(lake, CONTRACT, date(2026, 1, 7))
