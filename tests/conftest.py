"""Fixtures of all tests: one small Spark session for the run, and the folder of real data."""

import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

os.environ["TZ"] = "UTC"  # Python shows collected timestamps in its own zone
time.tzset()
os.environ["JAVA_TOOL_OPTIONS"] = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"  # short lives: half the time until the first result
logging.getLogger("py4j").setLevel(logging.WARNING)  # it tells of its connections even after the last line of the run

REPOSITORY = Path(__file__).parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with a slow test come first: of two processes none waits long for the other in the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator["SparkSession"]:
    """One local session for the whole run, started when a test first asks for it."""
    from jobs.session import session

    scratch = tmp_path_factory.mktemp("spark")
    conf = {
        "spark.driver.memory": "1g",
        "spark.driver.extraJavaOptions": f"-Dderby.system.home={scratch}",
        "spark.sql.warehouse.dir": str(scratch / "warehouse"),
        "spark.sql.shuffle.partitions": "1",
        "spark.databricks.delta.snapshotPartitions": "1",
    }
    running = session("tests", master="local[1]", conf=conf, delta=True)
    yield running
    running.stop()


@pytest.fixture(autouse=True)
def clean_catalog(request: pytest.FixtureRequest) -> Iterator[None]:
    """No view or cached frame outlives its test. Costs nothing where a test uses no Spark."""
    yield
    if "spark" in request.fixturenames:
        session = request.getfixturevalue("spark")
        session.catalog.clearCache()
        session._jsparkSession.sessionState().catalog().clearTempTables()  # listing and dropping takes 0.3 s a test


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real logs that are no part of the repository."""
    folder = Path(os.environ.get("SLUICE_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if folder.is_dir():
        return folder
    message = f"no real data at {folder}: set SLUICE_TEST_DATA to the folder that holds it (tests on real logs need it)"
    if os.environ.get("CI") == "true":
        pytest.fail(message)  # a run that decides whether a change lands may not skip
    pytest.skip(message)
