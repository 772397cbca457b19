"""Jobs on a standalone cluster whose machines have the libraries and nothing of Sluice: what runs there comes from the wheel.

The lake is on an object store, whose keys the driver alone is given.
"""

import json
import os
import re
import subprocess
import sys
import zipfile
from datetime import date
from pathlib import Path

import pytest

from jobs import text_vectors
from jobs.run import build_day
from jobs.storage import open_table
from schemas.contract import load
from tests.cluster import SPARK, cluster
from tests.jobs.published import NOON, item, publish_day
from tests.object_store import BUCKET, SECRET, object_store

pytestmark = pytest.mark.slow
DAY = date(2026, 1, 5)
ROOT = Path(__file__).parents[2]
COMMAND = re.search(r"^spark-submit --master spark://host.*$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE).group()
"""As the README has it."""


@pytest.fixture(scope="module")
def standalone(tmp_path_factory):
    with cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """What `make wheel` leaves."""
    target = tmp_path_factory.mktemp("dist")
    command = ["make", "--silent", "-o", ".venv/dev", "wheel", f"BIN={Path(sys.executable).parent}", f"DIST={target}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    [found] = target.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """The server is where the environment says: to this process, not to the worker, which was started before."""
    with object_store(tmp_path_factory.mktemp("store")) as found, pytest.MonkeyPatch.context() as patch:
        for name, value in found.items():
            patch.setenv(name, value)
        yield found


def run(command, folder, environment):
    """A command line in a folder that is not the repository. Both streams of the job: spark-submit joins them."""
    environment |= {"PATH": os.pathsep.join([str(SPARK / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]])}
    done = subprocess.run(["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, timeout=550)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return done.stdout


def test_the_wheel_holds_what_is_no_python_too(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tracked = subprocess.run(["git", "ls-files", "jobs", "sluice", "schemas"], cwd=ROOT, capture_output=True, text=True, check=True)
    wanted = [name for name in tracked.stdout.splitlines() if not name.endswith(".md")]
    assert "jobs/log4j2.properties" in wanted
    assert wheel.name.endswith("-py3-none-any.whl") and sorted(set(wanted) - set(names)) == []
    assert not [name for name in names if name.startswith(("tests/", "docker/", "build/"))]


def test_without_the_wheel_the_python_of_the_cluster_knows_nothing_of_sluice(standalone, tmp_path):
    """So whatever driver and executors import in the next test comes from the wheel."""
    python = standalone.environment["PYSPARK_PYTHON"]
    known = subprocess.run([python, "-c", "import numpy, pyspark, faiss"], cwd=tmp_path, env=standalone.environment)
    unknown = subprocess.run([python, "-c", "import features"], cwd=tmp_path, env=standalone.environment, capture_output=True, text=True)
    assert known.returncode == 0 and "No module named 'features'" in unknown.stderr


def test_a_job_gives_the_same_rows_on_a_cluster_as_in_one_process(spark, standalone, wheel, store, tmp_path):
    here, there, contract = str(tmp_path / "lake"), f"s3://{BUCKET}/lake", load("text_vectors")
    titles = ["red canvas shoes", "Red leather SHOES", "blue coat", "", "日本語 шляпа"]
    items = [item(f"i{n}", title=title) for n, title in enumerate(titles)]
    search = {"request_id": "r", "user_id": "u", "session_id": "s", "domain": "search", "requested_at": NOON, "query_norm": "shoe"}
    for lake in (here, there):
        publish_day(lake, load("items"), DAY, items)
        publish_day(lake, load("requests"), DAY, [search])
    expected = build_day(spark, here, contract, text_vectors.build, DAY).receipt
    names = {"spark://host:7077": standalone.master, "dist/*.whl": wheel, " jobs/": f" {ROOT}/jobs/", "2026-03-01": DAY}
    names |= {"s3://shop/lake": there, "python -m": f"PYTHONPATH={ROOT} {sys.executable} -m"}
    command = COMMAND
    for name, value in names.items():
        assert name in command
        command = command.replace(name, str(value))
    text = run(f"{command} --json", tmp_path, {**standalone.environment, **store})
    outcome = json.loads(text[text.rindex("\n{\n") :])
    assert outcome["status"] == "published" and outcome["receipt"]["rows"] == expected["rows"] == 4  # titles with words in them
    assert all(outcome["receipt"][k] == expected[k] for k in ("content_hash", "code", "contract", "suite"))
    assert len(open_table(there, contract).delta.to_pyarrow_table()) == 4
    assert SECRET not in text
    assert {file.name for file in standalone.work.rglob("*.whl")} == {wheel.name}, "the executor was sent it"
