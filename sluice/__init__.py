"""Sluice: e-commerce logs into training tables that can be trusted. `open_table` is for notebooks; the rest is the command line."""

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow.dataset as ds

__version__ = "0.1.0"


@dataclass(frozen=True)
class OpenTable:
    """Days of a table at one version: a pyarrow dataset of exactly their published files, and the receipt of each day."""

    dataset: "ds.Dataset"
    version: int
    receipts: tuple[dict[str, Any], ...]


def open_table(
    table: str,
    lake: str = "./lake",
    days: str | tuple[date, date] | None = None,
    version: int | None = None,
    contract_version: int | None = None,
) -> OpenTable:
    """The published rows of `table`, pinned: later publishes do not change what is read.

    `days` is "A..B" or a pair, both ends included; None is every published day. `version` is the newest when None;
    `contract_version` reads what an older version of the contract left, with the columns that it had. Raises NotPublishedError when a
    day of the range is not published, ContractError for a table that there is not.
    """
    from dataclasses import replace
    from datetime import timedelta

    import pyarrow.dataset as ds

    from jobs.storage import NotPublishedError, how_to_publish
    from jobs.storage import open_table as open_delta
    from schemas.contract import load, parse_days
    from schemas.derive import arrow_schema

    contract = load(table)
    contract = replace(contract, version=contract_version or contract.version)
    found = open_delta(lake, contract, version)
    first, last = parse_days(days) if isinstance(days, str) else days or (None, None)
    wanted = found.days if first is None else [first + timedelta(days=n) for n in range((last - first).days + 1)]
    missing = [d for d in wanted if not found.publishes(d)]
    if missing or not wanted:
        day = (missing or [date.today()])[0]
        raise NotPublishedError(
            f"{table} is not published for {', '.join(map(str, missing)) or 'any day'}; {how_to_publish(contract, day)}"
        )
    condition = [("day", "in", [d.isoformat() for d in wanted])]
    dataset = found.delta.to_pyarrow_dataset(partitions=condition, schema=None if contract_version else arrow_schema(contract))
    assert isinstance(dataset, ds.Dataset)
    return OpenTable(dataset, found.version, tuple(found.receipts(wanted)))
