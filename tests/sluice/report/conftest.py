"""One small lake for all tests of the report; those who change it take a copy."""

import shutil
from pathlib import Path

import pytest

from tests.sluice.report.planted import pipeline


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake in which nothing is red."""
    lake = tmp_path_factory.mktemp("report") / "lake"
    pipeline(lake)
    return lake


@pytest.fixture
def lake(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "lake"))
