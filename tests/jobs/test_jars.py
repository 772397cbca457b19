"""The Java that is asked for, and the jars that are fetched once."""

import os
from pathlib import Path

import pyspark
import pytest

from jobs import jars as house
from jobs.jars import (
    AWS_SDK,
    DELTA_JARS,
    HADOOP,
    SetupError,
    check_java,
    fetch_delta_jars,
    fetch_s3_jars,
    jar_paths,
    java_binary,
    java_version,
    s3_folder,
    s3_jar_paths,
)


def java(home: Path, banner: str) -> Path:
    """A program that says of itself what `java -version` would, on standard error."""
    script = home / "bin" / "java"
    script.parent.mkdir(parents=True)
    script.write_text(f"#!/bin/sh\ncat >&2 <<'END'\n{banner}\nEND\n")
    script.chmod(0o755)
    return script


@pytest.mark.parametrize(
    ("banner", "version"),
    [
        ('openjdk version "17.0.9" 2023-10-17\nOpenJDK Runtime Environment (build 17.0.9+9)', 17),
        ('Picked up JAVA_TOOL_OPTIONS: -Xmx1g\nopenjdk version "21-ea" 2023-09-19', 21),
        ('java version "1.8.0_392"\nJava(TM) SE Runtime Environment', 8),
    ],
)
def test_the_version_is_read_from_what_java_says(banner: str, version: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = java(tmp_path, banner)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert (java_binary(), java_version()) == (str(script), version)
    monkeypatch.delenv("JAVA_HOME")
    monkeypatch.setenv("PATH", str(script.parent), prepend=os.pathsep)
    assert (java_binary(), java_version()) == (str(script), version)


def test_java_17_is_enough_and_8_is_told_how_to_become_17(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    java(tmp_path / "new", 'openjdk version "17.0.9"')
    java(tmp_path / "old", 'java version "1.8.0_392"')
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "new"))
    check_java()
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "old"))
    with pytest.raises(SetupError, match="Java 8 is too old, Spark needs 17; install it: apt-get install openjdk-17-jre-headless"):
        check_java()


def test_no_java_is_told_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SetupError, match="no Java 17 or newer; install it: apt-get install openjdk-17-jre-headless"):
        check_java()


def test_a_java_home_without_java_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "gone"))
    with pytest.raises(SetupError, match=f"JAVA_HOME is {tmp_path}/gone, which has no bin/java; .*unset it"):
        java_binary()


def test_a_java_that_tells_no_version_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    java(tmp_path, "Unable to locate a Java Runtime")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(SetupError, match=f"{tmp_path}/bin/java does not tell its version: 'Unable to locate .*; set JAVA_HOME"):
        check_java()


def test_jars_that_are_there_are_not_fetched_and_those_missing_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICE_JARS", str(tmp_path))
    monkeypatch.setattr(house, "version", lambda package: "9.9.9")
    for name in reversed(DELTA_JARS[1:]):
        (tmp_path / f"{name}-9.9.9.jar").write_text("")
    (tmp_path / f"{DELTA_JARS[0]}-9.9.8.jar").write_text("")  # of another release
    assert jar_paths() == [tmp_path / f"{name}-9.9.9.jar" for name in DELTA_JARS[1:]]
    java(tmp_path / "java", "no network here")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "java"))
    with pytest.raises(
        SetupError, match=f"could not fetch {DELTA_JARS[0]}-9.9.9.jar to {tmp_path}; check the network.*\n.*no network here"
    ):
        fetch_delta_jars()
    (tmp_path / f"{DELTA_JARS[0]}-9.9.9.jar").write_text("")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "gone"))  # nobody asks for it
    assert fetch_delta_jars() == tmp_path and len(jar_paths()) == len(DELTA_JARS)


def test_jars_for_s3_are_fetched_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICE_JARS", str(tmp_path / "jars"))
    java(tmp_path / "java", "no network here")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "java"))
    with pytest.raises(SetupError, match=f"could not fetch hadoop-aws-{HADOOP}.jar to {s3_folder()}; check the network.*\n.*no network"):
        fetch_s3_jars()
    assert s3_jar_paths() == [] and not list((tmp_path / "jars").iterdir())
    come = f"hadoop-aws-{HADOOP}.jar s3-{AWS_SDK}.jar netty-common-4.1.1.Final.jar commons-logging-1.2.jar"
    fetching = f'#!/bin/sh\nmkdir "$(dirname "$4")/jars" && cd "$(dirname "$4")/jars" && touch {come}\n'
    (tmp_path / "java" / "bin" / "java").write_text(fetching)
    assert fetch_s3_jars() == s3_folder()
    assert [p.name for p in s3_jar_paths()] == [f"hadoop-aws-{HADOOP}.jar", f"s3-{AWS_SDK}.jar"], "what Spark has is left out"
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "gone"))  # nobody asks for it
    assert fetch_s3_jars() == s3_folder()


def test_hadoop_aws_is_of_the_hadoop_that_spark_brings() -> None:
    assert (Path(pyspark.__file__).parent / "jars" / f"hadoop-client-api-{HADOOP}.jar").exists()
