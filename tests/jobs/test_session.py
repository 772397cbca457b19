"""The Java that is asked for, and the settings that every session has in force."""

import os
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest

from jobs import session as house
from jobs.session import (
    DELTA_JARS,
    SETTINGS,
    SMALL,
    SMALL_BYTES,
    SetupError,
    check_java,
    fetch_delta_jars,
    jar_paths,
    java_binary,
    java_version,
    suited_to,
)

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


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
    with pytest.raises(SetupError, match=f"could not fetch {DELTA_JARS[0]} 9.9.9 to {tmp_path}; check the network.*\n.*no network here"):
        fetch_delta_jars()
    (tmp_path / f"{DELTA_JARS[0]}-9.9.9.jar").write_text("")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "gone"))  # nobody asks for it
    assert fetch_delta_jars() == tmp_path and len(jar_paths()) == len(DELTA_JARS)


def test_the_settings_of_the_house_are_in_force(spark: "SparkSession", tmp_path: Path) -> None:
    assert {key: spark.conf.get(key) for key in SETTINGS} == SETTINGS
    rows = spark.sql("select timestamp'2026-01-05 23:30:00.123456' as at, current_timezone() as zone, 1 as id, 2 as ID")
    rows.write.parquet(f"file://{tmp_path}/rows")
    [file] = (tmp_path / "rows").glob("*.parquet")
    at = pq.read_metadata(file).schema.column(0)
    assert (at.physical_type, pq.read_metadata(file).row_group(0).column(0).compression) == ("INT64", "ZSTD")
    assert pq.read_table(file).to_pylist()[0]["at"].replace(tzinfo=None) == datetime(2026, 1, 5, 23, 30, 0, 123456)
    assert pq.read_table(file)["zone"].to_pylist() == ["UTC"]
    assert pq.read_schema(file).names == ["at", "zone", "id", "ID"]
    assert not list((tmp_path / "rows").glob("_SUCCESS"))


def test_a_text_that_is_no_number_fails_and_is_not_null(spark: "SparkSession") -> None:
    with pytest.raises(Exception, match="CAST_INVALID_INPUT"):
        spark.sql("select cast(v as int) from values ('x') as t(v)").collect()


def test_plans_are_interpreted_while_a_small_input_is_worked_on(spark: "SparkSession") -> None:
    def now() -> dict[str, str]:
        return {key: spark.conf.get(key) for key in SMALL}

    before = now()
    assert before != SMALL
    with suited_to(spark, SMALL_BYTES):
        assert now() == SMALL
    assert now() == before
    with suited_to(spark, SMALL_BYTES + 1):
        assert now() == before
    with pytest.raises(KeyError, match="of the work"), suited_to(spark, 0):
        raise KeyError("of the work")
    assert now() == before
