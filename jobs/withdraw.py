"""Withdrawing a published day: what stood before it stands again, by a commit with a receipt that says who, when and why.

What comes back passed its gate when it was published, and its files are the same, so no gate is asked. If nothing stood
before, the day is not published any more. A withdrawn day stays so until a person forces it or its inputs or code change.
"""

import getpass
from datetime import UTC, date, datetime
from typing import Any

from deltalake.exceptions import DeltaError

from jobs.commit import files_again, publish
from jobs.messages import UsageError
from jobs.run import new_run_id
from jobs.storage import NotPublishedError, Table, how_to_publish, open_table, withdrawn_sentence
from jobs.watch import watched
from schemas.contract import Contract, ContractError

OF_A_CHANGE = ("publish", "version", "withdrawal")


def withdraw(lake: str, contract: Contract, day: date, because: str, to: int | None = None) -> dict[str, Any]:
    """Bring back the day as it was before the publish that stands, or as it was at version `to` of the table. Returns the receipt.

    Raises NotPublishedError when there is nothing to withdraw, UsageError when that already stands, ContractError when its files
    are gone, LostRaceError when the day changes meanwhile.
    """
    table = open_table(lake, contract)
    count = table.changes(day)
    if not count:
        raise NotPublishedError(f"{contract.name} {day} was never published: there is nothing to withdraw; {how_to_publish(contract, day)}")
    now = table.change(day, count)
    standing = origin(now)
    if to is None and not standing:
        raise UsageError(f"{withdrawn_sentence(now)}. To bring a version back: --to VERSION, at which the day was published")
    before = _at(lake, contract, table, table.change(day, standing)["version"] - 1 if to is None else to)
    wanted = origin(before.change(day, before.publishes(day))) if before.publishes(day) else 0
    if wanted == standing:
        raise UsageError(f"{contract.name} {day}: what version {to} holds stands already (publish {standing}); nothing to withdraw")
    at = datetime.now(UTC).isoformat(timespec="seconds")
    facts = {"by": _person(), "at": at, "because": because, "withdraws": standing, "restores": wanted}
    receipt = {"table": contract.name, "day": day.isoformat(), "run_id": now["run_id"], "is_withdrawn": True}
    if wanted:
        receipt = {name: value for name, value in before.receipt(day).items() if name not in OF_A_CHANGE}
    receipt |= {"reasons": [f"withdrawn: {because}"], "withdrawal": facts}
    files = _files(before, contract, day) if wanted else []
    run = {"run_id": new_run_id(), "inputs": {contract.name: {"version": before.version, "days": [day.isoformat()]}} if wanted else {}}

    def work() -> dict[str, Any]:
        return publish(table.root, contract, day, files, receipt, count, stands=bool(wanted))

    return watched(lake, contract, day, run, work, dict, job=f"withdraw.{contract.name}")


def origin(receipt: dict[str, Any]) -> int:
    """Which publish of the day the receipt speaks of: its own, the one that a withdrawal restored, or 0 for none."""
    return receipt["withdrawal"]["restores"] if "withdrawal" in receipt else receipt["publish"]


def _at(lake: str, contract: Contract, table: Table, version: int) -> Table:
    try:
        return open_table(lake, contract, version)
    except (DeltaError, NotPublishedError, OverflowError) as error:
        raise ContractError(
            f"{contract.name}: the log of {table.root} does not hold version {version}, so what it held cannot be brought back "
            f"(the newest is {table.version}; old ones are forgotten)"
        ) from error


def _files(before: Table, contract: Contract, day: date) -> list[Any]:
    try:
        return files_again(before.delta, before.root, contract, day)
    except ContractError as error:
        raise ContractError(
            f"{contract.name} {day} as of version {before.version} cannot be brought back: {str(error).rpartition(';')[0]}. "
            f"`sluice maintain` removes what was replaced some days ago; publish the day anew: {how_to_publish(contract, day)}"
        ) from error


def _person() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container without a name for its user
        return "unknown"
