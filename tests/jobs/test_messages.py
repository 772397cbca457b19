"""What a person is told of a run that went wrong, and its exit code."""

import errno
import sys
from typing import TYPE_CHECKING, Any

import pytest
from deltalake.exceptions import DeltaError

from jobs.commit import LostRaceError
from jobs.gate import GateError
from jobs.jars import SetupError
from jobs.messages import DONE, FAILED, REFUSED, USAGE, UsageError, cause, full_disk_explained, guarded
from jobs.sources import SourceError
from jobs.storage import NotPublishedError
from schemas.contract import ContractError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def raising(error: BaseException) -> Any:
    def work() -> None:
        raise error

    return work


def test_exit_codes_are_the_documented_numbers() -> None:
    assert (DONE, FAILED, USAGE, REFUSED) == (0, 1, 2, 3)


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (GateError("items: the gate refused"), 3, "refused: items: the gate refused"),
        (UsageError("no source 'x'"), 2, "wrong use: no source 'x'"),
        (
            LostRaceError("items 2026-01-05 was published by another run"),
            1,
            "failed: items 2026-01-05 was published by another run; run it again",
        ),
        (ContractError("no table 'x'"), 1, "failed: no table 'x'"),
        (NotPublishedError("items is not published"), 1, "failed: items is not published"),
        (SetupError("no Java"), 1, "failed: no Java"),
        (SourceError("no such file"), 1, "failed: no such file"),
        (DeltaError("log is torn"), 1, "failed: log is torn"),
        (PermissionError(errno.EACCES, "Permission denied", "/lake"), 1, "failed: [Errno 13] Permission denied: '/lake'"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_what_goes_wrong_is_one_message_and_a_code(error: Exception, code: int, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded(raising(error)) == code
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"{told}\n")


def test_work_that_succeeds_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    done = []
    assert guarded(lambda: done.append(1)) == 0
    assert (done, capsys.readouterr()) == ([1], ("", ""))


def test_our_own_mistakes_keep_their_trace() -> None:
    with pytest.raises(ZeroDivisionError):
        guarded(lambda: print(1 // 0))
    with pytest.raises(ValueError, match="not ours"):  # ContractError and others are ValueErrors; this is none of them
        guarded(raising(ValueError("not ours")))


def test_a_reader_of_our_output_that_went_away_is_no_failure(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    before = sys.stdout
    monkeypatch.setattr(sys, "stdout", before)  # put back afterwards
    assert guarded(raising(BrokenPipeError())) == 0
    assert sys.stdout is not before
    sys.stdout.close()
    assert capsys.readouterr().err == ""


def test_an_error_of_spark_is_one_line(spark: "SparkSession", capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded(lambda: spark.sql("select 1 / v from values (0) as t(v)").collect()) == 1
    assert guarded(lambda: spark.read.parquet("/no/such/folder").count()) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and all(line.startswith("failed in Spark: ") for line in lines)
    assert "DIVIDE_BY_ZERO" in lines[0] and "/no/such/folder" in lines[1]


def test_the_cause_is_the_innermost_that_is_named() -> None:
    trace = (
        "Job aborted\n\n  Caused by: org.x.SparkException: task failed\n\tat org.x\nCaused by: java.io.IOException: disk is gone\n\tat java"
    )
    assert cause(RuntimeError(trace)) == "java.io.IOException: disk is gone"
    assert cause(RuntimeError("\n  first line \nsecond")) == "first line"
    thrown = "An error occurred while calling o7.collect.\n: org.x.SparkException: too big\n\tat org.x"
    assert cause(RuntimeError(thrown)) == "org.x.SparkException: too big"
    assert cause(RuntimeError()) == "RuntimeError"
    assert cause(RuntimeError("x" * 1000)) == "x" * 600
    task = "org.x.PythonException: Traceback (most recent call last):\n  File x, line 3\nKeyError: 'a'\n\njobs.x.MyError: mend it\n\tat org"
    assert cause(RuntimeError(f"Job aborted\n{task}\nCaused by: {task}")) == "jobs.x.MyError: mend it"


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), DeltaError("Generic error: Disk quota exceeded (os error 122)")]
)
def test_a_full_disk_says_what_was_written_where_and_what_to_do(error: Exception) -> None:
    wanted = r"^items 2026-01-05: (No space|Disk quota).* while writing to /lake .*sluice maintain"
    with pytest.raises(OSError, match=wanted) as told, full_disk_explained("items 2026-01-05", "/lake"):
        raise error
    assert told.value.__cause__ is error


@pytest.mark.parametrize("error", [OSError("torn"), DeltaError("torn"), ValueError("No space left on device")])
def test_other_errors_pass_as_they_are(error: Exception) -> None:
    with pytest.raises(type(error)) as passed, full_disk_explained("items", "/lake"):
        raise error
    assert passed.value is error
