"""Every command of the README is run, in its order, in an empty folder."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def script() -> str:
    blocks = re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    assert len(blocks) >= 5
    return "set -euo pipefail\n" + "".join(re.sub(r"^\$ ", "", block, flags=re.MULTILINE) for block in blocks)


@pytest.mark.slow
def test_the_commands_of_the_readme_run(tmp_path):
    binaries = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    env = os.environ | {"PATH": binaries, "PYTHONPATH": str(ROOT), "SLUICE_HOME": str(ROOT), "PYSPARK_PYTHON": sys.executable}
    done = subprocess.run(["bash", "-c", script()], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=550)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "unreadable_event_at" in done.stdout
    assert done.stdout.rstrip().endswith("1 2"), "the pinned version and the two requests"


@pytest.mark.parametrize("target", ["demo", "test"])
def test_make_knows_the_two_commands(target):
    done = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"`make {target}`" in README
