"""What a person is told of a run that went wrong: one message on standard error, and an exit code."""

import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from deltalake.exceptions import DeltaError

from jobs import logs
from jobs.commit import LostRaceError
from jobs.gate import GateError
from jobs.jars import SetupError
from jobs.sources import SourceError
from jobs.storage import NotPublishedError
from schemas.contract import ContractError

DONE, FAILED, USAGE, REFUSED = 0, 1, 2, 3
"""Exit codes of every command: done or up to date, failed, wrong use, refused by a gate or by the books."""
_TRACEBACK = "Traceback (most recent call last)"
_RAISED = re.compile(r"(?!org\.|java\.|scala\.|py4j\.|pyspark\.|Caused by)[\w.]*(Error|Exception): \S")
FULL = ("No space left on device", "Disk quota exceeded", "File too large")


class UsageError(ValueError):
    """The command was given something that it cannot mean."""


def guarded(work: Callable[[], None]) -> int:
    """Do the work and turn what goes wrong into one message on standard error and an exit code."""
    logs.configure()
    try:
        work()
    except GateError as error:
        return _told("refused", error, REFUSED)
    except UsageError as error:
        return _told("wrong use", error, USAGE)
    except BrokenPipeError:  # whoever read our output has seen enough
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    except LostRaceError as error:
        return _told("failed", f"{error}; run it again", FAILED)
    except (ContractError, NotPublishedError, SetupError, SourceError, DeltaError, OSError) as error:
        return _told("failed", error, FAILED)
    except Exception as error:  # what Spark throws is a page long: say the cause first
        if not _is_of_spark(error):
            raise
        return _told("failed in Spark", cause(error), FAILED)
    return DONE


def _told(how: str, what: object, code: int) -> int:
    if logs.form() == "json":
        logs.log.error(how, extra={"facts": {"message": str(what), "exit_code": code}})
    else:
        print(f"{how}: {what}", file=sys.stderr)
    return code


def _is_of_spark(error: BaseException) -> bool:
    return type(error).__module__.partition(".")[0] in ("pyspark", "py4j")


def cause(error: BaseException) -> str:
    """The innermost cause that an error names, on one line; of a task in Python what it raised last."""
    said = re.sub(r"\AAn error occurred while calling \S+\s*:?", "", str(error))  # py4j's, before what Java threw
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    causes = [line.removeprefix("Caused by:").strip() for line in lines if line.startswith("Caused by:")]
    raised = [line for line in lines if _RAISED.match(line)] if any(_TRACEBACK in line for line in lines) else []
    return (raised or causes or lines or [type(error).__name__])[-1 if raised or causes else 0][:600]


@contextmanager
def full_disk_explained(what: str, where: str) -> Iterator[None]:
    """An error of an engine because there is no room becomes an OSError that says what was written where, and what to do."""
    try:
        yield
    except Exception as error:
        if not (isinstance(error, OSError | DeltaError) or _is_of_spark(error)) or not any(sign in str(error) for sign in FULL):
            raise
        sign = next(sign for sign in FULL if sign in str(error))
        raise OSError(
            f"{what}: {sign} while writing to {where} (or to Spark's own scratch folder); no reader sees any of it. "
            "Make room (sluice maintain removes leftovers), then run it again"
        ) from error
