"""What the modules of `dags` and `schemas` pull in when they are imported: no Spark, no models, no frames."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SPARK_AND_FRAMES = {"pyspark", "delta", "deltalake", "pyarrow", "numpy", "pandas"}
HEAVY = SPARK_AND_FRAMES | {"torch", "transformers", "great_expectations", "faiss", "bm25s", "typer"}
CODE = """
import importlib, sys
for module in sys.argv[1:]:
    importlib.import_module(module)
print("loaded", *{name.partition(".")[0] for name in sys.modules})
"""


def modules(package: str) -> list[str]:
    return sorted(f"{package}.{path.stem}" for path in (ROOT / package).glob("*.py") if path.stem != "__init__")


@pytest.mark.parametrize("package", ["schemas", "dags"])
def test_a_package_that_is_read_everywhere_imports_nothing_heavy(package, tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))  # airflow writes its configuration when it is imported
    found = modules(package)
    assert len(found) > 1
    done = subprocess.run([sys.executable, "-c", CODE, *found], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.splitlines()[-1].split())
    assert loaded >= {"loaded", package}
    assert not loaded & HEAVY


def test_contracts_need_the_standard_library_only():
    done = subprocess.run(
        [sys.executable, "-S", "-c", CODE, *modules("schemas")], cwd=ROOT, env={"PYTHONPATH": "."}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr  # -S: no site-packages
    assert done.stdout.startswith("loaded")
