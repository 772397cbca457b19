"""What `sluice doctor` finds on a machine where something is missing, and what it says to do."""

import json
import re

import pytest
from typer.testing import CliRunner

from jobs.jars import DELTA_JARS, HADOOP
from sluice.main import app
from tests.object_store import BUCKET, object_store


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine with a new Java, all jars and a lake; a test breaks one of them. Nothing here is really started."""
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("SLUICE_JARS", str(tmp_path / "jars"))
    monkeypatch.setattr("jobs.jars.version", lambda _name: "1.0")
    for folder in ("bin", "jars", "lake"):
        (tmp_path / folder).mkdir()
    for jar in DELTA_JARS:
        (tmp_path / "jars" / f"{jar}-1.0.jar").touch()
    java_says(tmp_path, 'openjdk version "21.0.2" 2024-01-16')
    return tmp_path


def java_says(machine, banner):
    java = machine / "bin" / "java"
    java.write_text(f"#!/bin/sh\necho '{banner}' >&2\n")
    java.chmod(0o755)


def doctor(machine, *options, code):
    result = CliRunner().invoke(app, ["doctor", "--lake", str(machine / "lake"), *options])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result


def faults(result):
    """What is said of each thing that is not well."""
    return dict(re.findall(r"^FAULT +([^:]+): (.*)$", result.stdout, re.MULTILINE))


def test_a_machine_with_everything_is_well(machine):
    result = doctor(machine, code=0)
    assert not faults(result) and not result.stderr
    assert {"Python", "Java", "Delta's jars", "lake", "space", "packages"} == set(re.findall(r"^ok +([^:]+):", result.stdout, re.MULTILINE))
    assert "21 at" in result.stdout and "5 of 5" in result.stdout


def test_java_that_is_missing_old_or_no_java_is_told_with_the_remedy(machine):
    install = "apt-get install openjdk-17-jre-headless"
    java_says(machine, 'openjdk version "1.8.0_402"')
    assert "Java 8 is too old, Spark needs 17" in (told := faults(doctor(machine, code=1))["Java"]) and install in told
    java_says(machine, 'java version "11.0.2" 2019-01-15 LTS')
    assert "Java 11 is too old, Spark needs 17" in (told := faults(doctor(machine, code=1))["Java"]) and install in told
    java_says(machine, "coffee")
    assert "coffee" in (told := faults(doctor(machine, code=1))["Java"]) and "set JAVA_HOME to Java 17 or newer" in told
    (machine / "bin" / "java").unlink()
    result = doctor(machine, code=1)
    assert list(faults(result)) == ["Java"]
    assert "no Java 17 or newer" in faults(result)["Java"] and install in faults(result)["Java"]
    assert "Java: see above what to do" in result.stderr


def test_a_java_home_without_java_is_named(machine, monkeypatch):
    monkeypatch.setenv("JAVA_HOME", str(machine / "jdk"))
    told = faults(doctor(machine, code=1))
    assert list(told) == ["Java"] and f"JAVA_HOME is {machine / 'jdk'}" in told["Java"] and "unset it" in told["Java"]


def test_missing_jars_are_counted_and_fetching_is_named(machine):
    (machine / "jars" / f"{DELTA_JARS[0]}-1.0.jar").unlink()
    told = faults(doctor(machine, code=1))
    assert told == {"Delta's jars": f"4 of 5 in {machine / 'jars'}; sluice doctor --fetch"}


def test_fetching_that_fails_says_where_to_and_what_to_check(machine):
    (machine / "jars" / f"{DELTA_JARS[0]}-1.0.jar").unlink()
    result = doctor(machine, "--fetch", code=1)  # this Java fetches nothing
    assert f"could not fetch {DELTA_JARS[0]}-1.0.jar to {machine / 'jars'}; check the network" in result.stderr


def test_a_lake_on_s3_needs_jars_and_a_store_that_answers(machine, tmp_path, monkeypatch):
    with object_store(tmp_path) as store:
        for name, value in store.items():
            monkeypatch.setenv(name, value)
        result = CliRunner().invoke(app, ["doctor", "--lake", f"s3://{BUCKET}/lake"])
        assert result.exit_code == 1 and list(faults(result)) == ["jars for S3"] and "make s3" in faults(result)["jars for S3"]
        (machine / "jars" / f"s3-{HADOOP}").mkdir()
        (machine / "jars" / f"s3-{HADOOP}" / f"hadoop-aws-{HADOOP}.jar").touch()
        result = CliRunner().invoke(app, ["doctor", "--lake", f"s3://{BUCKET}/lake"])
        assert result.exit_code == 0 and f"s3://{BUCKET}/lake can be reached" in result.stdout
        result = CliRunner().invoke(app, ["doctor", "--lake", "s3://another-bucket/lake"])
    assert list(faults(result)) == ["lake"] and "there is no bucket another-bucket" in faults(result)["lake"]


def test_a_lake_that_cannot_be_is_told_with_the_option(machine):
    (machine / "lake").rmdir()
    assert "is not there yet and can be made" in doctor(machine, code=0).stdout
    (machine / "lake").write_text("a file")
    told = faults(doctor(machine, code=1))
    assert list(told) == ["lake"] and str(machine / "lake") in told["lake"] and "choose another with --lake" in told["lake"]


def test_json_holds_every_check_and_its_remedy_and_nothing_else(machine):
    (machine / "jars" / f"{DELTA_JARS[0]}-1.0.jar").unlink()
    checks = json.loads(doctor(machine, "--json", code=1).stdout)
    assert len(checks) == 6
    assert [(c["name"], c["remedy"]) for c in checks if not c["is_well"]] == [("Delta's jars", "sluice doctor --fetch")]
    assert all(c["found"] for c in checks)
