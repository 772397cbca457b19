"""A job file given to spark-submit, with the project's packages in a zip: exit codes and words. For its rows see test_cluster.py."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pyspark
import pytest

from tests.dying import DAY

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
PACKAGES = ("schemas", "expectations", "features", "jobs")


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """The zip that goes with a job."""
    path = tmp_path_factory.mktemp("submit") / "sluice.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in (f for package in PACKAGES for f in sorted((ROOT / package).rglob("*.py"))):
            archive.write(file, file.relative_to(ROOT))
    return path


def spark_submit(packages, table, *arguments):
    """Run a job file in a folder that is not the repository, with nothing of it on the path but the zip."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "SPARK_HOME")} | {"PYSPARK_PYTHON": sys.executable}
    command = [Path(pyspark.__file__).parent / "bin" / "spark-submit", "--master", "local[1]", "--driver-memory", "1g"]
    command += ["--conf", "spark.ui.enabled=false"]
    command += ["--py-files", packages, ROOT / "jobs" / f"{table}.py", *arguments]
    done = subprocess.run(list(map(str, command)), cwd=packages.parent, env=environment, capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout  # both streams of the job: spark-submit joins them


def test_a_submitted_job_ends_with_the_exit_code_of_what_went_wrong(packages, tmp_path):
    code, text = spark_submit(packages, "query_item_stats", "--day", "tomorrow", "--lake", tmp_path)
    assert code == 2 and "'tomorrow' is no day, write it as 2026-01-05" in text and "Traceback" not in text
    nowhere = tmp_path / "nowhere"
    code, text = spark_submit(packages, "query_item_stats", "--day", DAY, "--lake", nowhere)
    assert code == 1 and f"failed: no lake at {nowhere}" in text and "Traceback" not in text
