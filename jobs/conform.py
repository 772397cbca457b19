"""From what a build returns to what is staged: the contract's columns and types, row rules applied, books kept in the row.

A staged row lies in one split: `kept` (will be the table), `excluded` (only its fate and accounts matter) or `quarantined` (a row,
or one element of a row's list, with its reason). Columns that begin with `_` are bookkeeping that no table has.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, DataType, MapType, StructField, StructType

from jobs.content import JSON
from schemas.contract import Account, Contract, ContractError
from schemas.derive import spark_schema

SPLIT, QUARANTINE, FATE = "split", "_quarantine", "_fate"
KEPT, EXCLUDED, QUARANTINED = "kept", "excluded", "quarantined"
QUARANTINE_TYPE = "struct<rule: string, key: string, element: int, row: string, reason: string>"
_WORD = re.compile(r"'(?:[^'\\]|\\.|'')*'|\"(?:[^\"\\]|\\.)*\"|`[^`]*`|(?<![.\w])[A-Za-z_]\w*(?!\w*\s*\()")


def account_column(account: str) -> str:
    """Name of the struct in which a build counts an account's fates."""
    return f"_{account}"


def bookkeeping(accounts: Sequence[str]) -> list[str]:
    """The columns of staged files that are no columns of the table."""
    return [*(account_column(name) for name in accounts), QUARANTINE, FATE]


def of_element(condition: str, fields: Sequence[str], element: str = "e") -> str:
    """SQL about the fields of a list's element as SQL about the lambda variable `element`; other names stay the row's."""
    return _WORD.sub(lambda m: f"{element}.{m.group()}" if m.group().strip("`") in fields else m.group(), condition)


def conform(frame: DataFrame, contract: Contract, rules: Sequence[Any], accounts: Mapping[str, Account]) -> DataFrame:
    """Rows ready to be staged: contract columns, `split`, one struct for each account, and `_quarantine` where it applies.

    Raises ContractError when columns or fields are missing, or lie in another order than the contract's.
    """
    rows = _select(frame, contract, accounts)
    row_rules = [r for r in rules if not r.over]
    for column in dict.fromkeys(r.over for r in rules if r.over):
        rows = _take_out_elements(rows, contract, column, [r for r in rules if r.over == column], accounts)
    rows = _name_broken_rows(rows, contract, row_rules)
    rows = _books_of_quarantined(rows, accounts)
    has_elements = "_bad" in rows.columns
    columns = [c.name for c in contract.columns if c.name != "day"]
    staged = [*columns, *bookkeeping([*accounts, *(f.name for f in contract.figures)]), SPLIT]
    blank = [F.when(F.col(SPLIT) == KEPT, F.col(c)).alias(c) for c in columns]
    rows = rows.withColumn(FATE, F.when(F.col(SPLIT) == EXCLUDED, F.col(FATE)))
    rows_and_reason = rows.select(*blank, *(F.col(c) for c in staged[len(columns) :]), *(["_bad"] if has_elements else []))
    return (_with_elements(rows_and_reason, staged, accounts) if has_elements else rows_and_reason).sortWithinPartitions(
        SPLIT, *contract.grain
    )


def _select(frame: DataFrame, contract: Contract, accounts: Mapping[str, Account]) -> DataFrame:
    """The contract's columns, cast, with the control columns that a build may leave out."""
    schema = spark_schema(contract)
    needed = [f.name for f in schema.fields] + [account_column(a) for a in (*accounts, *(f.name for f in contract.figures))]
    missing = [name for name in needed if name not in frame.columns]
    given = {f.name: f.dataType for f in frame.schema.fields}
    moved = [f.name for f in schema.fields if f.name in given and _names(given[f.name]) != _names(f.dataType)]
    if missing or moved:
        raise ContractError(
            f"{contract.name}: the build lacks columns {missing} and has other fields or another order of fields in {moved}; "
            f"schemas/{contract.name}.py says what it must return"
        )
    control = {"_fate": F.lit(KEPT), "_rule": F.lit(None), "_reason": F.lit(None), "_raw": F.lit(None), "_line": F.lit(None)}
    controls = [(F.coalesce(F.col(c), default) if c in given else default).cast("string").alias(c) for c, default in control.items()]
    casts = [F.col(f.name).cast(f.dataType).alias(f.name) for f in schema.fields]
    figures = (_counts(account_column(f.name), f.fields).alias(account_column(f.name)) for f in contract.figures)
    books = (_account_struct(given[account_column(a)], account_column(a)) for a in accounts)
    return frame.select(*casts, *controls, *books, *figures)


def _counts(struct: str, fields: Sequence[str]) -> Column:
    """Its integers, 0 for a null one."""
    return F.struct(*(F.coalesce(F.col(f"{struct}.{name}"), F.lit(0)).cast("bigint").alias(name) for name in fields))


def _account_struct(kind: DataType, name: str) -> Column:
    """The fates that were counted, and one more for what a row rule takes out."""
    fates = [f.name for f in kind.fields]
    counted = [F.coalesce(F.col(f"{name}.{fate}"), F.lit(0)).cast("bigint").alias(fate) for fate in fates]
    return F.struct(*counted, *([] if QUARANTINED in fates else [F.lit(0).cast("bigint").alias(QUARANTINED)])).alias(name)


def _names(kind: DataType) -> Any:
    """Nested field names in order: a cast goes by position and would mix fields up."""
    if isinstance(kind, StructType):
        return [(f.name, _names(f.dataType)) for f in kind.fields]
    if isinstance(kind, ArrayType):
        return ["[]", _names(kind.elementType)]
    return ["{}", _names(kind.keyType), _names(kind.valueType)] if isinstance(kind, MapType) else None


def _broken(condition: str) -> str:
    """True where the condition is false or null."""
    return f"not coalesce(({condition}), false)"


def _take_out_elements(
    rows: DataFrame, contract: Contract, column: str, rules: Sequence[Any], accounts: Mapping[str, Account]
) -> DataFrame:
    """The list without the elements that break a rule, which go to `_bad`; their fates move to `quarantined`."""
    fields = rows.schema[column].dataType.elementType.names
    conditions = {r.name: of_element(r.condition, fields) for r in rules}
    holds = " and ".join(f"coalesce(({c}), false)" for c in conditions.values())
    first_broken = "case " + " ".join(f"when {_broken(c)} then '{name}'" for name, c in conditions.items()) + " end"
    checked = f"filter(transform(`{column}`, (e, i) -> struct(i as element, {first_broken} as rule, e)), x -> x.rule is not null)"
    empty = f"cast(array() as array<struct<element: int, rule: string, e: {rows.schema[column].dataType.elementType.simpleString()}>>)"
    has_bad = f"exists(`{column}`, e -> not ({holds}))"
    rows = rows.withColumn("_has_bad", F.expr(f"_fate = '{KEPT}' and coalesce({has_bad}, false)"))  # what is excluded is not judged
    rows = rows.withColumn("_taken", F.expr(f"if(_has_bad, {checked}, {empty})"))
    rows = rows.withColumn(column, F.expr(f"if(_has_bad, filter(`{column}`, e -> {holds}), `{column}`)"))
    for name, account in accounts.items():
        if account.element_fate and contract.elements and column == contract.elements.column:
            fate = of_element(account.element_fate, fields, "t.e")
            rows = rows.withColumn(account_column(name), _moved(rows.schema[account_column(name)], fate))
    reasons = F.create_map(*(F.lit(text) for r in rules for text in (r.name, _reason(r))))
    as_json = lambda t: F.coalesce(F.to_json(t.e, JSON), F.lit("null"))  # noqa: E731
    bad = F.transform("_taken", lambda t: _quarantine_struct(contract, t.rule, t.element, as_json(t), reasons[t.rule]))
    bad = F.concat(F.col("_bad"), bad) if "_bad" in rows.columns else bad
    return rows.withColumn("_bad", bad).drop("_taken", "_has_bad")


def _moved(struct: StructField, fate: str) -> Column:
    """The account with the fates of elements taken out counted as quarantined."""
    name, fates = struct.name, [f.name for f in struct.dataType.fields if f.name != QUARANTINED]
    left = [F.expr(f"{name}.`{f}` - size(filter(_taken, t -> ({fate}) = '{f}'))").cast("bigint").alias(f) for f in fates]
    return F.struct(*left, (F.col(f"{name}.{QUARANTINED}") + F.size("_taken")).cast("bigint").alias(QUARANTINED))


def _reason(rule: Any) -> str:
    return f"{rule.note or rule.name}: it must hold that {rule.condition}"


def _quarantine_struct(contract: Contract, rule: Column, element: Column, row: Column, reason: Column) -> Column:
    key = F.to_json(F.struct(*contract.grain), JSON)
    parts = {"rule": rule, "key": key, "element": element.cast("int"), "row": row, "reason": reason}
    return F.struct(*(c.alias(n) for n, c in parts.items())).cast(QUARANTINE_TYPE)


def _name_broken_rows(rows: DataFrame, contract: Contract, rules: Sequence[Any]) -> DataFrame:
    """`split` of each row, and `_quarantine` of those that a source or a rule rejects: the first rule that is broken names it."""
    rule, reason = F.when(F.col("_fate") == QUARANTINED, F.coalesce("_rule", F.lit("rejected_by_source"))), F.col("_reason")
    for r in rules:
        is_broken = (F.col("_fate") == KEPT) & F.expr(_broken(r.condition))
        rule, reason = F.coalesce(rule, F.when(is_broken, F.lit(r.name))), F.coalesce(reason, F.when(is_broken, F.lit(_reason(r))))
    rows = rows.withColumns({"_rule": rule, "_reason": reason})
    is_bad = F.col("_rule").isNotNull()
    where = F.when(F.col("_line").isNotNull(), F.concat(F.lit("; line "), "_line")).otherwise(F.lit(""))
    raw = F.coalesce("_raw", F.to_json(F.struct(*(c.name for c in contract.columns)), JSON))
    entry = _quarantine_struct(contract, F.col("_rule"), F.lit(None), raw, F.concat(F.coalesce("_reason", "_rule"), where))
    split = F.when(is_bad, QUARANTINED).when(F.col("_fate") == KEPT, KEPT).otherwise(EXCLUDED)
    return rows.withColumns({SPLIT: split, QUARANTINE: F.when(is_bad, entry)})


def _books_of_quarantined(rows: DataFrame, accounts: Mapping[str, Account]) -> DataFrame:
    """Whatever a quarantined row had accounted for becomes `quarantined`."""
    for column in map(account_column, accounts):
        fates = [f.name for f in rows.schema[column].dataType.fields]
        total = sum((F.col(f"{column}.{f}") for f in fates), start=F.lit(0))
        moved = F.struct(*((total if f == QUARANTINED else F.lit(0)).cast("bigint").alias(f) for f in fates))
        rows = rows.withColumn(column, F.when(F.col(SPLIT) == QUARANTINED, moved).otherwise(F.col(column)))
    return rows


def _with_elements(rows: DataFrame, staged: Sequence[str], accounts: Mapping[str, Account]) -> DataFrame:
    """Each row, and one more for each element taken out of it."""
    row = F.struct(*staged)
    kinds = {f.name: f.dataType for f in rows.schema.fields}
    nothing = {c: F.lit(None).cast(kinds[c]) for c in staged}

    def taken_out(bad: Column) -> Column:
        values = nothing | {QUARANTINE: bad, SPLIT: F.lit(QUARANTINED)}
        return F.struct(*(values[c].alias(c) for c in staged))

    every = F.when(F.size("_bad") > 0, F.concat(F.array(row), F.transform("_bad", taken_out))).otherwise(F.array(row))
    return rows.select(F.explode(every).alias("r")).select("r.*")
