"""A run of one table-day as others hear of it: the hook of a refusal."""

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any, TypeVar

from jobs.books import GateError
from jobs.hook import document, tell
from schemas.contract import Contract

Done = TypeVar("Done")


def watched(lake: str, contract: Contract, day: date, draft: Mapping[str, Any], work: Callable[[], Done]) -> Done:
    """Do the work of a table-day and tell what becomes of it; `draft` is what its receipt already knows, the run's id included."""
    try:
        return work()
    except GateError as refusal:
        tell_refused(lake, contract, [day], refusal, f"sluice gate {contract.name} --day {day} --lake {lake}", draft["run_id"])
        raise


def tell_refused(lake: str, contract: Contract, days: Sequence[date], refusal: GateError, look: str, run_id: str | None = None) -> None:
    """Tell the hook that gate or books refused these days (none: all that was given), and why."""
    more = {"expectations": refusal.expectations, "accounts": refusal.accounts, "run_id": run_id}
    tell(document("refused", contract, days, str(refusal), look, lake, **more))
