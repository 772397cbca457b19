"""A run of one table-day as others hear of it: lineage of its start and end, the hook of a refusal."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, TypeVar

from jobs.books import GateError
from jobs.commit import LostRaceError
from jobs.emit import emit
from jobs.hook import document, tell
from jobs.logs import step
from jobs.messages import cause
from schemas.contract import Contract

Done = TypeVar("Done")


def watched(
    lake: str,
    contract: Contract,
    day: date,
    draft: Mapping[str, Any],
    work: Callable[[], Done],
    receipt_of: Callable[[Done], Mapping[str, Any]],
    job: str | None = None,
    is_seen: bool = False,
) -> Done:
    """Do the work of a table-day and tell what becomes of it; `draft` is what its receipt already knows, the run's id included.

    With `is_seen` a person waits for the outcome, and the hook is not told of a refusal.
    """
    run = {"lake": lake, "contract": contract, "day": day.isoformat(), "job": job or contract.name, "draft": draft}
    run["started"] = datetime.now(UTC)
    names = {"table": contract.name, "day": run["day"], "run_id": draft["run_id"]}
    step("started", **names, job=run["job"], reasons=draft.get("reasons"))
    emit(state="START", at=run["started"], **run)

    def end(state: str, word: str, **more: Any) -> None:
        at, receipt = datetime.now(UTC), more.get("receipt", {})
        figures = {name: receipt.get(name) for name in ("version", "rows", "bytes", "quarantined", "content_hash")}
        seconds = round((at - run["started"]).total_seconds(), 3)
        step(word, **names, wall_s=seconds, **figures, error=more.get("error"))
        emit(state=state, at=at, **run, **more)

    try:
        done = work()
    except GateError as refusal:
        end("FAIL", "refused", error=str(refusal), results=refusal.results)
        if not is_seen:
            tell_refused(lake, contract, [day], refusal, f"sluice gate {contract.name} --day {day} --lake {lake}", draft["run_id"])
        raise
    except LostRaceError as lost:
        end("ABORT", "overtaken", error=str(lost))
        raise
    except BaseException as error:  # a person's interrupt too
        state, word = ("FAIL", "failed") if isinstance(error, Exception) else ("ABORT", "stopped")
        end(state, word, error=f"{type(error).__name__}: {cause(error)}")
        raise
    receipt = receipt_of(done)
    end("COMPLETE", "published", receipt=receipt, results=() if "withdrawal" in receipt else receipt.get("results", ()))
    return done


def tell_refused(lake: str, contract: Contract, days: Sequence[date], refusal: GateError, look: str, run_id: str | None = None) -> None:
    """Tell the hook that gate or books refused these days (none: all that was given), and why."""
    more = {"expectations": refusal.expectations, "accounts": refusal.accounts, "run_id": run_id}
    tell(document("refused", contract, days, str(refusal), look, lake, **more))
