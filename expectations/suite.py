"""A suite of checks as frozen plain data, in Great Expectations' names. Standard library only."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

SEVERITIES = ("critical", "warning")


@dataclass(frozen=True)
class Expectation:
    """A statement about a table (or the elements of its list `over`) that can fail."""

    kind: str
    """Great Expectations' name, such as `expect_column_values_to_be_between`."""
    arguments: Mapping[str, object]
    """Its own arguments; with `over`, columns are fields of an element."""
    severity: str = "critical"
    """critical stops the publish, warning is recorded."""
    note: str = ""
    """Where the number comes from."""
    over: str | None = None
    """A list-of-structs column; None for the rows themselves."""

    def __post_init__(self) -> None:
        faults = []
        if not re.fullmatch(r"expect_[a-z0-9_]+", self.kind):
            faults.append(f"kind is {self.kind!r}, must be a name of Great Expectations such as expect_column_values_to_not_be_null")
        if not isinstance(self.arguments, Mapping) or not all(isinstance(name, str) for name in self.arguments):
            faults.append(f"arguments are {self.arguments!r}, must map names to values")
        if self.severity not in SEVERITIES:
            faults.append(f"severity is {self.severity!r}, must be one of {', '.join(SEVERITIES)}")
        _refuse(f"expectation {self.kind}", [*faults, *_column_faults(self.over)])


@dataclass(frozen=True)
class RowRule:
    """A condition that each row (or element of the list `over`) must meet; false or null sends it to quarantine."""

    name: str
    """What the broken row is filed under."""
    condition: str
    """Spark SQL over the row's columns, or over the element's fields alone when `over` is set; null counts as broken."""
    note: str = ""
    """Why it holds."""
    over: str | None = None

    def __post_init__(self) -> None:
        faults = []
        if not re.fullmatch(r"[a-z][a-z0-9_]*", self.name):
            faults.append(f"name is {self.name!r}, must be snake_case: it is stored with each row in quarantine")
        if not self.condition.strip():
            faults.append("condition is empty; write Spark SQL that holds for good rows")
        _refuse(f"row rule {self.name}", [*faults, *_column_faults(self.over)])


@dataclass(frozen=True)
class Suite:
    """What the gate of a table checks beyond what its contract implies."""

    row_rules: tuple[RowRule, ...] = ()
    expectations: tuple[Expectation, ...] = ()

    def __post_init__(self) -> None:
        faults = []
        for field, kind in (("row_rules", RowRule), ("expectations", Expectation)):
            entries = getattr(self, field)
            if not isinstance(entries, tuple) or not all(isinstance(entry, kind) for entry in entries):
                faults.append(f"{field} must be a tuple of {kind.__name__}; write a trailing comma after a single one")
        _refuse("suite", faults)
        names = [rule.name for rule in self.row_rules]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            _refuse("suite", [f"two row rules are named {', '.join(repeated)}; quarantine files rows under the name"])


def _column_faults(over: str | None) -> list[str]:
    return [] if over is None or over else ["over is '', must name a list column, or be None for the rows"]


def _refuse(what: str, faults: list[str]) -> None:
    if faults:
        raise ValueError(f"{what}: {'; '.join(faults)}")
