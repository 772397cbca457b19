"""What a table promises, as frozen plain data: columns, grain, inputs, books. Standard library only.

Everything else follows from it and never repeats it: Arrow and Spark schemas (`schemas.derive`), the checks that a
gate makes by itself, the edges of a DAG, the backfill plan, the Open Data Contract Standard export.
"""

import importlib
import pkgutil
import re
from dataclasses import dataclass, field, replace
from datetime import date, timedelta


class ContractError(ValueError):
    """A broken promise: a table, an input or a frame is not what its contract says."""


@dataclass(frozen=True)
class Column:
    """A column: its name, Spark SQL type, meaning in one line, and whether it may be null or is personal data."""

    name: str
    type: str
    """Spark SQL DDL; fields inside a struct may be null unless they say `not null`."""
    doc: str
    nullable: bool = False
    personal: bool = False
    references: str | None = None
    """`table.column` of an input in which every non-null value must occur."""


@dataclass(frozen=True)
class Account:
    """What must become of every row (or list element) of an input: the fates add up to a total of its receipts.

    `build` returns a struct of integers named `_<name>`, one field for each fate; the gate sums it over all rows staged.
    """

    name: str
    fates: tuple[str, ...]
    total: str = "rows"
    """Which total of the input's receipts is the left side."""
    window: tuple[int, int] | None = None
    """Days of the input that count; None for the whole window of the input."""
    keyed_by_day: bool = False
    """The total is a number for each day: take the entry of the day built."""
    element_fate: str | None = None
    """SQL over an element of the contract's list that names its fate; set when the account counts list elements."""


@dataclass(frozen=True)
class Input:
    """A table read: days [start, end) relative to the day built, and the accounts that conserve it."""

    table: str
    window: tuple[int, int] = (0, 1)
    accounts: tuple[Account, ...] = ()

    @property
    def conserved(self) -> bool:
        return bool(self.accounts)


@dataclass(frozen=True)
class Elements:
    """The list column that a row carries, and the field that identifies an element within its list."""

    column: str
    key: str
    is_unique: bool = True
    """The gate checks that no list holds a key twice; False where a later step names such elements as duplicates."""


@dataclass(frozen=True)
class Total:
    """A figure that the receipt carries: the sum of an SQL expression over the rows, for each value of `by` if given."""

    name: str
    expression: str
    by: str | None = None
    """A date column; rows where it is null are left out."""


@dataclass(frozen=True)
class Figure:
    """What making the rows took, such as tokens and their price; it decides no row, and the receipt carries the sums.

    `build` returns a struct of integers named `_<name>`, one field for each of `fields`; the gate sums it over all rows staged.
    """

    name: str
    fields: tuple[str, ...]
    doc: str


@dataclass(frozen=True)
class Contract:
    """A table: one row is what `grain` names, one day is the unit of build, gate and publish."""

    name: str
    grain: tuple[str, ...]
    owner: str
    keep_days: int
    version: int
    doc: str
    columns: tuple[Column, ...]
    source: str = ""
    inputs: tuple[Input, ...] = ()
    elements: Elements | None = None
    totals: tuple[Total, ...] = ()
    labels: tuple[str, ...] = ()
    """Integer label fields of the elements (of the row where there are none) that change while the labels mature."""
    matures_after: int = 0
    """Days after the day built until its labels are final."""
    reissue_after: tuple[int, ...] = ()
    """Ages in days at which an immature day is built again."""
    may_be_empty: bool = False
    figures: tuple[Figure, ...] = field(default=(), repr=False)  # as below
    """What the receipt says of the making of the rows."""
    join_keys: tuple[str, ...] = field(default=(), repr=False)  # tells of cost alone: another choice makes no day stale
    """Columns by which jobs join or group its rows; a receipt says how many rows their hottest values have."""

    @property
    def is_raw(self) -> bool:
        """A source writes it; it has no job."""
        return not self.inputs

    def input(self, table: str) -> Input:
        return next(each for each in self.inputs if each.table == table)

    def column(self, name: str) -> Column:
        return next(each for each in self.columns if each.name == name)


def days_of(window: tuple[int, int], day: date) -> list[date]:
    """The days of a half-open window relative to `day`."""
    return [day + timedelta(days=offset) for offset in range(*window)]


def quarantine_of(contract: Contract) -> Contract:
    """Contract of `<table>_quarantine`: the rows and list elements that broke a row rule. One schema for all tables."""
    return Contract(
        name=f"{contract.name}_quarantine",
        grain=("run_id", "rule", "key", "element"),
        owner=contract.owner,
        keep_days=contract.keep_days,
        version=contract.version,
        may_be_empty=True,
        doc=f"What the gate of {contract.name} took out, and why.",
        columns=(
            Column("day", "date", "Day of the table it was taken out of; the partition."),
            Column("run_id", "string", "The run that took it out; a receipt names it."),
            Column("rule", "string", "Name of the row rule that it broke."),
            Column("key", "string", "Grain of the row, as JSON."),
            Column("element", "int", "Place in the list, from 0; null for a whole row.", nullable=True),
            Column("row", "string", "The row or element as it was, as JSON.", personal=True),
            Column("reason", "string", "What is wrong, in words."),
        ),
    )


def load(table: str) -> Contract:
    """The contract of one table. Raises ContractError when there is none, naming those that there are."""
    names = table_names()
    if table not in names:
        raise ContractError(f"no table {table!r}: there is no schemas/{table}.py; tables are {', '.join(names)}")
    return importlib.import_module(f"schemas.{table}").CONTRACT


def load_all() -> list[Contract]:
    """All contracts, inputs before the tables that read them."""
    pending = {name: load(name) for name in table_names()}
    ordered: list[Contract] = []
    while pending:
        ready = [c for c in pending.values() if not any(i.table in pending for i in c.inputs)]
        if not ready:
            raise ContractError(f"tables read each other in a circle: {', '.join(sorted(pending))}")
        ordered += sorted(ready, key=lambda c: (not c.is_raw, c.name))
        for contract in ready:
            del pending[contract.name]
    return ordered


def table_names() -> list[str]:
    """Stems of all tables: the modules of this package that hold a contract, found by their files."""
    package = importlib.import_module("schemas")
    own = {"address", "contract", "derive", "features", "odcs"}
    return sorted(m.name for m in pkgutil.iter_modules(package.__path__) if m.name not in own)


def without_words(contract: Contract) -> Contract:
    """The contract less its prose, so that a better sentence makes no day stale."""
    columns = tuple(replace(c, doc="", personal=False) for c in contract.columns)
    return replace(contract, doc="", source="", owner="", keep_days=0, columns=columns)


def parse_days(text: str) -> tuple[date, date]:
    """`A..B`, inclusive at both ends, or one day. Raises ValueError that shows the form."""
    match = re.fullmatch(r"(\d{4}-\d{2}-\d{2})(?:\.\.(\d{4}-\d{2}-\d{2}))?", text.strip())
    try:
        first = date.fromisoformat(match.group(1))
        last = date.fromisoformat(match.group(2) or match.group(1))
    except (AttributeError, ValueError) as error:
        raise ValueError(f"days are {text!r}, must be A..B with both ends included, as 2026-01-01..2026-01-10") from error
    if last < first:
        raise ValueError(f"days are {text!r}: the last day is before the first; write {last}..{first}")
    return first, last
