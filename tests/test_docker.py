"""Images and the compose file, as far as a machine without an engine can tell: what they name is there, and what they start runs."""

import copy
import json
import os
import re
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pyspark
import pytest
from compose_spec import PyCompose
from ruamel.yaml import YAML

from tests.object_store import object_store

ROOT = Path(__file__).parents[1]
COMPOSE = YAML(typ="safe").load((ROOT / "docker" / "compose.yaml").read_text())
DOCKERFILE = (ROOT / "docker" / "Dockerfile").read_text()
SERVICES = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
STAGES = {
    stage["name"]: stage for stage in re.finditer(r"^FROM (?P<base>\S+) AS (?P<name>\w+)\n(?P<body>(?:(?!FROM ).*\n)*)", DOCKERFILE, re.M)
}


def check_compose(document):
    PyCompose.from_json(json.dumps(document))


def hadolint(text):
    """What the linter says of a Dockerfile, a line each."""
    command = [Path(sys.executable).with_name("hadolint"), "--no-color", "-"]
    return subprocess.run(command, input=text, capture_output=True, text=True, timeout=60).stdout.splitlines()


def test_the_compose_file_follows_the_specification():
    check_compose(COMPOSE)
    for fault in ({"imagee": "x"}, {"ports": ["127.0.0.1:no-port"]}, {"depends_on": {"store": {"condition": "healthy"}}}):
        broken = copy.deepcopy(COMPOSE)
        broken["services"]["airflow"] |= fault
        with pytest.raises(ValueError, match="line 1"):
            check_compose(broken)


def test_what_the_compose_file_names_is_there():
    assert {"store", "spark-master", "spark-worker-1", "spark-worker-2", "airflow"} <= set(SERVICES)
    run_by_hand = set(re.findall(r"run --rm (\S+)", (ROOT / "docker" / "README.md").read_text()))
    assert run_by_hand and run_by_hand <= set(SERVICES)
    waited_for = {name for service in SERVICES.values() for name in service.get("depends_on", {})}
    mounted = {volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])}
    assert waited_for and waited_for <= set(SERVICES)
    assert mounted == set(COMPOSE["volumes"])
    for name, service in OURS.items():
        assert service["build"]["target"] in STAGES, name
        assert (ROOT / "docker" / service["build"]["context"] / service["build"]["dockerfile"]).is_file(), name
    masters = {arg for service in SERVICES.values() for arg in service.get("command", []) if arg.startswith("spark://")}
    masters.add(SERVICES["airflow"]["environment"]["AIRFLOW_CONN_SPARK_DEFAULT"])
    assert masters == {"spark://spark-master:7077"}


def test_ports_are_open_to_this_machine_alone_and_no_password_is_written_down():
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports and all(port.startswith("127.0.0.1:") for port in ports)
    values = [(key, value) for service in SERVICES.values() for key, value in service.get("environment", {}).items()]
    secret = [value for key, value in values if re.search("KEY|PASSWORD|USER$", key)]
    assert secret and all(value.startswith("${") for value in secret)


def test_every_image_is_pinned_and_runs_as_a_plain_user():
    outside = [stage["base"] for stage in STAGES.values() if stage["base"] not in STAGES]
    outside += [service["image"] for service in SERVICES.values() if "build" not in service]
    assert len(outside) == 2 and all(re.fullmatch(r"[\w/]+:.*\d.*", image) for image in outside), outside
    for target in {service["build"]["target"] for service in OURS.values()}:
        users = re.findall(r"^USER (\S+)", STAGES[target]["body"], re.M)
        assert users and users[-1].isdecimal() and int(users[-1]) > 0, target


def test_the_linter_finds_nothing_in_the_dockerfile():
    assert hadolint(DOCKERFILE) == []
    assert any("DL3006" in line for line in hadolint(DOCKERFILE.replace(":3.11.14-slim-bookworm", ""))), "it sees an image without a tag"


def test_what_is_copied_exists_and_is_let_in():
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    let_in = {rule[1:] for rule in rules if rule.startswith("!")}
    assert rules[0] == "*" and sorted(name for name in let_in if not (ROOT / name).exists()) == []
    sources = [source for line in re.findall(r"^COPY (.*)$", DOCKERFILE, re.M) for source in line.split()[:-1]]
    assert {"requirements/core.txt", "jobs/jars.py", "."} <= set(sources)
    assert sorted(s for s in sources if s != "." and not ((ROOT / s).is_file() and s.split("/")[0] in let_in)) == []
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"}
    assert packages | {"pyproject.toml", "requirements"} <= let_in
    assert not any(fnmatch(name, rule) for name in let_in for rule in rules if rule[0] not in "!*")


def test_the_jars_step_needs_no_more_than_it_copies(tmp_path):
    (tmp_path / "jobs").mkdir()
    for name in ("__init__.py", "jars.py"):
        shutil.copy(ROOT / "jobs" / name, tmp_path / "jobs" / name)
    done = subprocess.run([sys.executable, "-m", "jobs.jars", "--help"], cwd=tmp_path, env=plain(), capture_output=True, text=True)
    assert "usage: python -m jobs.jars [--s3]" in done.stderr


def plain(**more):
    """An environment with what is installed, where nothing points at this checkout."""
    binaries = [str(Path(sys.executable).parent), str(Path(pyspark.__file__).parent / "bin"), os.environ["PATH"]]
    return {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"PATH": os.pathsep.join(binaries), **more}


COMMANDS = {tuple(s["command"]) for s in OURS.values() if "command" in s} | {
    tuple(json.loads(c)) for c in re.findall(r"^CMD (.*)$", DOCKERFILE, re.M)
}


@pytest.mark.slow
@pytest.mark.parametrize("command", sorted(COMMANDS - {c for c in COMMANDS if c[0] == "python"}), ids=" ".join)
def test_what_a_container_starts_is_there_and_takes_these_options(command, tmp_path):
    start = [sys.executable, "-m", "sluice.main", command[1]] if command[0] == "sluice" else command[:2]
    done = subprocess.run(
        [*start, "--help"],
        cwd=tmp_path,
        env=plain(PYTHONPATH=str(ROOT), AIRFLOW_HOME=str(tmp_path / "airflow")),
        capture_output=True,
        text=True,
        timeout=120,
    )
    told = done.stdout + done.stderr
    assert "usage" in told.lower(), told[-2000:]
    options = [word for word in command[2:] if word.startswith("--") and word != "--help"]
    assert [option for option in options if option not in told] == []


def test_the_bucket_is_made_and_made_again(tmp_path):
    program = SERVICES["bucket"]["command"]
    with object_store(tmp_path) as store:
        for _ in range(2):
            done = subprocess.run([sys.executable, *program[1:]], env=plain(**store), capture_output=True, text=True, timeout=60)
            assert done.returncode == 0, done.stderr
        listed = [
            sys.executable,
            "-c",
            "from pyarrow.fs import FileSystem as F; print(F.from_uri('s3://lake')[0].get_file_info('lake').type.name)",
        ]
        assert subprocess.run(listed, env=plain(**store), capture_output=True, text=True, timeout=60).stdout == "Directory\n"
