"""The README's section on object stores, run as it is written: from logs to a manifest, all of it on an S3-compatible server."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pyarrow.fs as pafs
import pytest

from jobs.jars import s3_jar_paths
from jobs.storage import filesystem, open_table
from schemas.contract import load
from sluice import open_table as open_rows
from tests.object_store import KEYS, SECRET, object_store
from training.manifest import load as load_manifest
from training.manifest import verify

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DAY = "2026-03-01"
TABLES = ("items", "requests", "events", "attributions")
SCRIPT = """
import shlex, sys
from sluice.main import app
for line in sys.stdin:
    code = app(shlex.split(line)[1:], standalone_mode=False)
    if code:
        sys.exit(f"{code}: {line}")
from pyspark.sql import SparkSession
spark = SparkSession.getActiveSession()
print(spark.sparkContext.getConf().toDebugString())
print(spark.sql("set -v").toPandas().to_string())
"""
"""Many commands in one process, so that they share a session; then all settings that Spark tells."""


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with object_store(tmp_path_factory.mktemp("store")) as found, pytest.MonkeyPatch.context() as patch:
        for name, value in found.items():
            patch.setenv(name, value)
        yield found


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    """The folder of logs that the README's first commands write."""
    folder = tmp_path_factory.mktemp("logs")
    block = re.search(r"```console\n(.*?)\$ sluice", README, re.DOTALL).group(1)
    subprocess.run(["bash", "-c", re.sub(r"^\$ ", "", block, flags=re.MULTILINE)], cwd=folder, check=True)
    return folder / "logs"


@pytest.fixture(scope="module")
def commands():
    """The section's commands."""
    section = README.split("## On an object store", 1)[1]
    found = re.search(r"```sh\n(.*?)```", section, re.DOTALL).group(1)
    assert len(found.splitlines()) >= 4 and "--from s3://shop/logs" in found
    return found


@pytest.fixture(scope="module")
def said(store, logs, commands, tmp_path_factory):
    """What all of it printed, here on the store and then in folders beside."""
    assert s3_jar_paths(), "fetch them: make s3"
    folder = tmp_path_factory.mktemp("beside")
    fs, path = filesystem("s3://shop/logs")
    pafs.copy_files(str(logs), path, source_filesystem=pafs.LocalFileSystem(), destination_filesystem=fs)
    beside = commands.replace("s3://shop/logs", str(logs)).replace("s3://shop/lake", str(folder))
    env = os.environ | {"PYTHONPATH": str(ROOT), "SLUICE_DRIVER_MEMORY": "1g", "SLUICE_SPARK_LOG": "INFO"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], input=commands + beside, cwd=folder, env=env, capture_output=True, text=True, timeout=400
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, done.stdout + done.stderr


def test_the_same_rows_come_out_as_in_a_folder(said):
    folder, _ = said
    for name in TABLES:
        there, here = open_table("s3://shop/lake", load(name)), open_table(folder, load(name))
        assert there.days == here.days and there.days, name
        assert [r["content_hash"] for r in there.receipts()] == [r["content_hash"] for r in here.receipts()], name
    assert open_table("s3://shop/lake", load("events")).receipt(there.days[0])["quarantined"] == {"unreadable_event_at": 1}


def test_readers_without_spark_find_rows_books_and_manifest(said):
    rows = open_rows("attributions", "s3://shop/lake", f"{DAY}..{DAY}")
    assert rows.dataset.count_rows() == rows.receipts[0]["rows"] > 0
    assert {a["difference"] for a in rows.receipts[0]["accounts"]} == {0}
    made = load_manifest("s3://shop/lake", "first")
    assert (made.root, verify(made)) == (f"s3://shop/lake/attributions/v{load('attributions').version}", [])


def test_what_was_staged_and_not_published_is_gone(said):
    fs, path = filesystem("s3://shop/lake")
    files = [info.path for info in fs.get_file_info(pafs.FileSelector(path, recursive=True)) if info.is_file]
    published = set()
    for name in TABLES:
        table = open_table("s3://shop/lake", load(name))
        published |= {file.removeprefix("s3://") for file in table.files(table.days)}
    assert published and published <= set(files)
    kept_apart = r"/_delta_log/|/_receipts/|/_plans/|/_manifests/|/_lineage/|_quarantine/"
    assert [file for file in files if file not in published and not re.search(kept_apart, file)] == []


def test_no_key_is_in_any_output_or_setting(said):
    _, told = said
    assert "spark.hadoop.fs.s3a.endpoint" in told and "spark.app.name" in told, "settings were listed"
    assert SECRET not in told
    assert KEYS["AWS_ACCESS_KEY_ID"] not in told
