"""`sluice doctor`: is everything here that Sluice needs, and what to do about what is not."""

import json
import os
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from jobs.jars import (
    DELTA_JARS,
    MIN_JAVA,
    SetupError,
    check_java,
    fetch_delta_jars,
    fetch_s3_jars,
    jar_folder,
    jar_paths,
    java_binary,
    java_version,
    s3_folder,
    s3_jar_paths,
)
from jobs.storage import check_lake, lake_address
from schemas.contract import ContractError

PACKAGES = ("pyspark", "delta-spark", "deltalake", "pyarrow", "great-expectations", "faiss-cpu", "bm25s", "typer", "rich")
LEAST_FREE = 1 << 30


@dataclass(frozen=True)
class Check:
    """One thing looked at: what was found, and what to do when it is not as it should be."""

    name: str
    is_well: bool
    found: str
    remedy: str = ""


def report(lake: str, as_json: bool, fetch: bool) -> None:
    """Print every check. Raises SetupError when one fails."""
    if fetch:
        fetch_delta_jars()
        if is_on_s3(lake):
            fetch_s3_jars()
    looks = [_python, _java, _jars, *([_s3_jars] if is_on_s3(lake) else []), lambda: _lake(lake), lambda: _space(lake), _packages]
    checks = [_checked(look) for look in looks]
    if as_json:
        print(json.dumps([vars(c) for c in checks], indent=1))
    else:
        for c in checks:
            print(f"{'ok    ' if c.is_well else 'FAULT '} {c.name}: {c.found}" + (f"; {c.remedy}" if c.remedy else ""))
    sick = [c.name for c in checks if not c.is_well]
    if sick:
        raise SetupError(f"{', '.join(sick)}: see above what to do")


def _checked(look: Callable[[], Check]) -> Check:
    try:
        return look()
    except (SetupError, ContractError, OSError) as error:
        return Check("Java" if isinstance(error, SetupError) else "lake", False, str(error))


def _python() -> Check:
    well = sys.version_info[:2] >= (3, 11)
    return Check("Python", well, platform.python_version(), "" if well else "install Python 3.11: apt-get install python3.11-venv")


def _java() -> Check:
    check_java()
    return Check("Java", True, f"{java_version()} at {java_binary()} (needs {MIN_JAVA} or newer)")


def _jars() -> Check:
    found = len(jar_paths())
    remedy = "" if found == len(DELTA_JARS) else "sluice doctor --fetch"
    return Check("Delta's jars", not remedy, f"{found} of {len(DELTA_JARS)} in {jar_folder()}", remedy)


def is_on_s3(lake: str) -> bool:
    return lake_address(lake).startswith("s3://")


def _s3_jars() -> Check:
    """Without them Spark cannot read the lake; a cluster may have them by itself, which cannot be seen from here."""
    found = len(s3_jar_paths())
    return Check("jars for S3", bool(found), f"{found} in {s3_folder()}", "" if found else "make s3, or sluice doctor --fetch")


def _lake(lake: str) -> Check:
    check_lake(lake, must_exist=False)
    address = lake_address(lake)
    if "://" in address:
        return Check("lake", True, f"{address} can be reached")
    state = "is there and can be written" if os.path.isdir(address) else "is not there yet and can be made"
    return Check("lake", True, f"{address} {state}")


def _space(lake: str) -> Check:
    address = lake_address(lake)
    folder = address if "://" not in address else "."
    while not os.path.exists(folder):
        folder = os.path.dirname(folder)
    free = shutil.disk_usage(folder).free
    return Check(
        "space", free > LEAST_FREE, f"{free >> 30} GiB free at {folder}", "" if free > LEAST_FREE else "free some, or sluice maintain"
    )


def _packages() -> Check:
    found, missing = [], []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    remedy = f"missing {', '.join(missing)}: pip install -r requirements/core.txt" if missing else ""
    return Check("packages", not missing, ", ".join(found), remedy)
