"""An Airflow of its own for these tests: no database, a connection, a lake."""

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from airflow.sdk import DAG

os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="airflow-")  # before the first import of airflow, which writes there
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SPARK_DEFAULT", "spark://spark-master:7077")
    monkeypatch.setenv("AIRFLOW_VAR_SLUICE_LAKE", str(tmp_path / "lake"))
    monkeypatch.setenv("AIRFLOW_VAR_SLUICE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AIRFLOW_VAR_SLUICE_SOURCE", "files --from '/logs/of the shop' --rename uid=user_id")
    monkeypatch.setenv("AIRFLOW_VAR_SLUICE_TRAIN_HHSFT", "--size base --days 28")


@pytest.fixture(scope="session")
def dags() -> "dict[str, DAG]":
    """All DAGs, as Airflow's own DAG processor finds them."""
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(dag_folder=ROOT / "dags", bundle_path=ROOT, bundle_name="dags")
    assert not bag.import_errors, bag.import_errors
    assert bag.dags, f"no DAG in {ROOT / 'dags'}"
    return bag.dags


@pytest.fixture
def context() -> dict[str, Any]:
    """What a running task is given, for the day 2026-01-15."""
    from airflow.sdk.execution_time import macros
    from airflow.sdk.execution_time.context import OutletEventAccessors, VariableAccessor

    return {
        "partition_key": "2026-01-15",
        "macros": macros,
        "var": {"value": VariableAccessor(deserialize_json=False)},
        "outlet_events": OutletEventAccessors(),
        "triggering_asset_events": {},
    }


@pytest.fixture
def spark_submit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A `spark-submit` on PATH that does what a test writes into it."""
    return program("spark-submit", monkeypatch, tmp_path)


@pytest.fixture
def sluice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A `sluice` on PATH that does what a test writes into it."""
    return program("sluice", monkeypatch, tmp_path)


def program(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    script = tmp_path / "bin" / name
    script.parent.mkdir(exist_ok=True)
    script.write_text("#!/bin/sh\nexit 0\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(script.parent), prepend=os.pathsep)
    return script
