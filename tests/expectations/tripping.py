"""Whether each entry of a suite was seen to fail: rows that break a rule, frames that break an expectation."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from expectations.compile import audit, describe, implied
from expectations.suite import RowRule, Suite
from schemas.contract import Contract
from tests.frames import frame

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

Row = Mapping[str, Any]


def broken_rules(rows: "DataFrame", rules: Sequence[RowRule]) -> dict[int, set[str]]:
    """Names of the rules that each row, or an element of its list, breaks, by the row's place in the frame."""
    from pyspark.sql import functions as F

    found: dict[int, set[str]] = defaultdict(set)
    numbered = rows.coalesce(1).withColumn("test row", F.monotonically_increasing_id())  # one partition: the place in it
    for over in {rule.over for rule in rules}:
        own = [rule for rule in rules if rule.over == over]
        source = numbered if over is None else numbered.selectExpr("`test row`", f"inline({over})")
        broken = [F.when(F.coalesce(F.expr(rule.condition), F.lit(False)), None).otherwise(F.lit(rule.name)) for rule in own]
        for row, names in source.select("test row", F.array_compact(F.array(*broken))).collect():
            found[row] |= set(names)
    return found


def assert_rules_trip(spark: "SparkSession", contract: Contract, suite: Suite, good: Sequence[Row], bad: Mapping[str, Row]) -> None:
    """Good rows break no rule; every rule has a bad row, which breaks it."""
    assert suite.row_rules, "no rules"
    assert set(bad) == {rule.name for rule in suite.row_rules}, "each rule needs a bad row, under its name"
    found = broken_rules(frame(spark, contract, [*good, *bad.values()]), suite.row_rules)
    for n in range(len(good)):
        assert found[n] == set(), f"good row {n} breaks {found[n]}"
    for n, name in enumerate(bad, start=len(good)):
        assert name in found[n], f"the bad row of {name} breaks only {found[n]}"
    assert all(rule.note for rule in suite.row_rules), "a rule has no note"


def assert_expectations_trip(
    spark: "SparkSession", contract: Contract, suite: Suite, good: Sequence[Row], bad: Mapping[str, Sequence[Row]]
) -> None:
    """The good rows meet all that is asked, the contract's own promises too; every expectation has bad rows, which fail it."""
    assert suite.expectations, "no expectations"
    wanted = {describe(each): each for each in suite.expectations}
    assert len(wanted) == len(suite.expectations), "two expectations of the same kind and columns"
    assert set(bad) == set(wanted), "each expectation needs bad rows, under its description"
    results, _ = audit(frame(spark, contract, good), [*implied(contract), *suite.expectations])
    assert [r["expectation_config"] for r in results if not r["success"]] == []
    for name, rows in bad.items():
        (result,), _ = audit(frame(spark, contract, rows), [wanted[name]])
        assert not result["success"], f"the bad rows of {name} meet it: {result['result']}"
        assert result["expectation_config"]["meta"]["note"], f"{name} has no note"
