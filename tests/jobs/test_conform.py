"""From what a build returns to what is staged: rules, quarantine and books, on a table of orders with a list of lines."""

import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from expectations.suite import RowRule
from jobs.conform import bookkeeping, conform, of_element
from schemas.contract import Account, Column, Contract, ContractError, Elements
from schemas.derive import arrow_schema
from tests.frames import DAY, frame

ORDERS = Contract(
    "orders",
    ("order_id",),
    "us",
    1,
    1,
    "An order with its lines.",
    (
        Column("day", "date", ""),
        Column("order_id", "string", ""),
        Column("cents", "bigint", "", nullable=True),
        Column("note", "string", "", nullable=True),
        Column("lines", "array<struct<sku string,qty int,is_gift boolean>>", "", nullable=True),
        Column("tags", "array<struct<tag string>>", "", nullable=True),
    ),
    elements=Elements("lines", key="sku"),
)
RULES = (
    RowRule("cents_positive", "cents > 0", note="it's a price"),
    RowRule("note_plain", """note is null or note not in ('cents', 'it''s', "is_gift")"""),
    RowRule("qty_positive", "qty > 0", note="a line has pieces", over="lines"),
    RowRule("sku_named", "sku not in ('qty', 'it''s', \"is_gift\") and coalesce(size(split(sku, ',')) = 1, false)", over="lines"),
    RowRule("tag_lower", "tag = lower(tag)", over="tags"),
)
ACCOUNTS = {
    "lines": Account("lines", fates=("plain", "gift", "not_taken"), element_fate="if(is_gift, 'gift', 'plain')"),
    "rows": Account("rows", fates=("kept", "duplicate")),
}
GOOD = {"sku": "a", "qty": 1, "is_gift": False}
GIFT = {"sku": "g", "qty": 2, "is_gift": True}
NO_PIECES = {"sku": "z", "qty": 0, "is_gift": True}


def order(order_id: str, cents: int | None = 100, lines: list[Any] | None = None, fate: str | None = "kept", **more: Any) -> dict[str, Any]:
    plain = sum(1 for line in lines or [] if not line or not line["is_gift"])
    counts = (plain, len(lines or []) - plain, 0) if fate == "kept" else (0, 0, len(lines or []))
    books = {
        "_lines": dict(zip(("plain", "gift", "not_taken"), counts, strict=True)),
        "_rows": {"kept": int(fate != "duplicate"), "duplicate": int(fate == "duplicate")},
    }
    control = {"_fate": fate, "_rule": None, "_reason": None, "_raw": None, "_line": None}
    return {"day": DAY, "order_id": order_id, "cents": cents, "note": None, "lines": lines, "tags": None} | control | books | more


ROWS = [
    order("good", lines=[GOOD, GIFT]),
    order("no_cents", None, [GOOD]),
    order("two_rules", -1, note="it's"),
    order("quoted", note="is_gift"),
    order("one_line", lines=[GOOD, NO_PIECES, GIFT]),
    order("strange_lines", lines=[{"sku": "qty", "qty": None, "is_gift": None}, None, {"sku": "it's", "qty": 1, "is_gift": False}, GOOD]),
    order("row_and_line", -1, [NO_PIECES, GOOD]),
    order("duplicate", -1, [NO_PIECES, GOOD], fate="duplicate"),
    order("from_source", None, fate="quarantined", _rule="unreadable", _reason="time is 25:00", _raw="a;b", _line="log.csv:7"),
    order("from_source_bare", 1, fate="quarantined"),
    order("with_line_number", -5, _line="log.csv:9"),
    order("tags", lines=[NO_PIECES], tags=[{"tag": "x"}, {"tag": "Y"}]),
    order("null_fate", fate=None) | {"_lines": None},
]


@pytest.fixture(scope="module")
def staged(spark: SparkSession) -> Iterator[list[Row]]:
    """All cases, conformed in one action."""
    counts = {"_lines": ("plain", "gift", "not_taken"), "_rows": ("kept", "duplicate")}
    fields = [*arrow_schema(ORDERS), *(pa.field(c, pa.string()) for c in ("_fate", "_rule", "_reason", "_raw", "_line"))]
    fields += [pa.field(name, pa.struct([pa.field(f, pa.int32()) for f in fates])) for name, fates in counts.items()]
    rows = spark.createDataFrame(pa.Table.from_pylist(ROWS[::-1], schema=pa.schema(fields)))
    result = conform(rows, ORDERS, RULES, ACCOUNTS)
    assert result.columns == ["order_id", "cents", "note", "lines", "tags", "_lines", "_rows", "_quarantine", "_fate", "split"]
    assert result.columns[5:9] == bookkeeping(list(ACCOUNTS))
    yield result.collect()


def quarantined(staged: list[Row], order_id: str) -> list[tuple[str, int | None, str]]:
    entries = [r["_quarantine"] for r in staged if r["_quarantine"] and json.loads(r["_quarantine"]["key"]) == {"order_id": order_id}]
    return [(e["rule"], e["element"], e["reason"]) for e in entries]


def entry(staged: list[Row], rule: str, order_id: str) -> dict[str, Any]:
    found = [
        r["_quarantine"]
        for r in staged
        if r["_quarantine"] and r["_quarantine"]["rule"] == rule and f'"{order_id}"' in r["_quarantine"]["key"]
    ]
    assert len(found) == 1
    return found[0].asDict()


def kept(staged: list[Row]) -> dict[str, Row]:
    return {r["order_id"]: r for r in staged if r["split"] == "kept"}


def test_each_row_lies_in_one_split(staged):
    assert list(kept(staged)) == sorted(["good", "one_line", "strange_lines", "tags", "null_fate"])
    assert [r["split"] for r in staged].count("excluded") == 1
    assert [r["split"] for r in staged].count("quarantined") == 7 + 7, "rows and elements"
    others = [r for r in staged if r["split"] != "kept"]
    assert {r[c] for r in others for c in ("order_id", "cents", "note", "lines", "tags")} == {None}, "they are no rows of the table"


def test_a_rule_that_is_false_or_null_quarantines_the_row_under_the_first_rule_broken(staged):
    assert quarantined(staged, "no_cents") == [("cents_positive", None, "it's a price: it must hold that cents > 0")]
    assert [rule for rule, _, _ in quarantined(staged, "two_rules")] == ["cents_positive"]
    assert quarantined(staged, "quoted") == [("note_plain", None, f"note_plain: it must hold that {RULES[1].condition}")]
    row = json.loads(entry(staged, "cents_positive", "two_rules")["row"])
    assert row == {"day": "2026-01-05", "order_id": "two_rules", "cents": -1, "note": "it's", "lines": None, "tags": None}


def test_an_element_that_breaks_a_rule_leaves_without_its_row(staged):
    assert [line["sku"] for line in kept(staged)["one_line"]["lines"]] == ["a", "g"]
    assert quarantined(staged, "one_line") == [("qty_positive", 1, "a line has pieces: it must hold that qty > 0")]
    assert json.loads(entry(staged, "qty_positive", "one_line")["row"]) == NO_PIECES
    assert kept(staged)["null_fate"]["lines"] is None
    assert len(kept(staged)["good"]["lines"]) == 2


def test_names_inside_strings_and_null_elements_are_no_traps(staged):
    assert [line["sku"] for line in kept(staged)["strange_lines"]["lines"]] == ["a"]
    found = {(rule, element) for rule, element, _ in quarantined(staged, "strange_lines")}
    assert found == {("qty_positive", 0), ("qty_positive", 1), ("sku_named", 2)}
    assert {r["_quarantine"]["row"] is not None for r in staged if r["_quarantine"]} == {True}


def test_each_list_has_its_own_rules(staged):
    assert [(rule, element) for rule, element, _ in quarantined(staged, "tags")] == [("qty_positive", 0), ("tag_lower", 1)]
    assert (kept(staged)["tags"]["lines"], kept(staged)["tags"]["tags"]) == ([], [Row(tag="x")])


def test_elements_taken_out_move_their_fate_to_quarantined(staged):
    books = {name: r["_lines"].asDict() for name, r in kept(staged).items()}
    assert books["good"] == {"plain": 1, "gift": 1, "not_taken": 0, "quarantined": 0}
    assert books["one_line"] == {"plain": 1, "gift": 1, "not_taken": 0, "quarantined": 1}
    assert books["strange_lines"] == {"plain": 1, "gift": 0, "not_taken": 0, "quarantined": 3}
    assert books["tags"] == {"plain": 0, "gift": 0, "not_taken": 0, "quarantined": 1}
    assert set(books["null_fate"].values()) == {0}
    assert {tuple(r["_rows"]) for r in kept(staged).values()} == {(1, 0, 0)}, "no rows left with their elements"


def test_a_quarantined_row_moves_all_it_accounts_for(staged):
    moved = next(
        r for r in staged if r["_quarantine"] and '"row_and_line"' in r["_quarantine"]["key"] and r["_quarantine"]["element"] is None
    )
    assert moved["_lines"].asDict() == {"plain": 0, "gift": 0, "not_taken": 0, "quarantined": 2}
    assert moved["_rows"].asDict() == {"kept": 0, "duplicate": 0, "quarantined": 1}
    assert sorted(rule for rule, _, _ in quarantined(staged, "row_and_line")) == ["cents_positive", "qty_positive"]


def test_an_excluded_row_keeps_its_books_and_is_judged_by_no_rule(staged):
    (excluded,) = [r for r in staged if r["split"] == "excluded"]
    assert excluded["_lines"].asDict() == {"plain": 0, "gift": 0, "not_taken": 2, "quarantined": 0}
    assert excluded["_rows"].asDict() == {"kept": 0, "duplicate": 1, "quarantined": 0}
    assert excluded["_fate"] == "duplicate" and {r["_fate"] for r in staged if r is not excluded} == {None}
    assert quarantined(staged, "duplicate") == []


def test_nothing_that_was_accounted_for_is_lost(staged):
    given = {a: sum(sum((r[f"_{a}"] or {}).values()) for r in ROWS) for a in ACCOUNTS}
    ended = {a: sum(sum(r[f"_{a}"] or ()) for r in staged) for a in ACCOUNTS}
    assert ended == given == {"lines": 15, "rows": 13}


def test_what_a_source_rejects_keeps_its_own_reason_text_and_place(staged):
    assert quarantined(staged, "from_source") == [("unreadable", None, "time is 25:00; line log.csv:7")]
    assert entry(staged, "unreadable", "from_source")["row"] == "a;b"
    assert quarantined(staged, "from_source_bare") == [("rejected_by_source", None, "rejected_by_source")]
    assert json.loads(entry(staged, "rejected_by_source", "from_source_bare")["row"])["cents"] == 1
    assert quarantined(staged, "with_line_number")[0][2].endswith("cents > 0; line log.csv:9")


def test_rows_of_a_partition_are_staged_in_order_of_the_grain(staged):
    names = [r["order_id"] for r in staged if r["split"] == "kept"]
    assert names == sorted(names) != [r["order_id"] for r in ROWS[::-1] if r["order_id"] in names]


def refused(frame: DataFrame, **accounts: Account) -> str:
    with pytest.raises(ContractError) as error:
        conform(frame, ORDERS, RULES, accounts)
    return str(error.value)


def test_all_that_is_missing_or_moved_is_named_at_once(spark):
    rows = frame(spark, ORDERS, [{"cents": 1}])
    message = refused(rows.drop("cents", "note"), rows=ACCOUNTS["rows"])
    assert "orders: the build lacks columns ['cents', 'note', '_rows']" in message and "schemas/orders.py" in message
    swapped = F.transform("lines", lambda e: F.struct(e.qty, e.sku, e.is_gift))
    assert "another order of fields in ['lines']" in refused(rows.withColumn("lines", swapped))
    assert "['lines', 'tags']" in refused(rows.withColumns({"lines": F.lit("x"), "tags": F.array(F.lit("y"))}))
    assert "lacks columns ['order_id'] and" in refused(rows.withColumnRenamed("order_id", "ORDER_ID"))


def test_columns_are_cast_and_what_the_contract_does_not_have_is_left_out(spark):
    rows = frame(spark, ORDERS, [{}]).withColumn("cents", F.lit("12")).withColumn("spare", F.lit(1))
    staged = conform(rows, ORDERS, (), {})
    assert (dict(staged.dtypes)["cents"], "spare" in staged.columns) == ("bigint", False)
    assert [r["cents"] for r in staged.collect()] == [12]


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("qty > 0 and sku <> 'qty'", "e.qty > 0 and e.sku <> 'qty'"),
        ("sku <> 'it''s qty' and qty", "e.sku <> 'it''s qty' and e.qty"),
        (r"sku <> 'it\'s qty' and qty", r"e.sku <> 'it\'s qty' and e.qty"),
        ('sku <> "qty" or qty', 'e.sku <> "qty" or e.qty'),
        ("`qty` > 1", "e.`qty` > 1"),
        ("position(sku) > position", "position(e.sku) > e.position"),
        ("position in (1, 2) and (sku)", "e.position in (1, 2) and (e.sku)"),
        ("size (sku) = size", "size (e.sku) = e.size"),
        ("r.qty < cents and qty2 < 1e3 and qty<1e-3", "r.qty < cents and qty2 < 1e3 and e.qty<1e-3"),
    ],
)
def test_conditions_speak_of_the_element(condition, expected):
    assert of_element(condition, ["sku", "qty", "position", "size", "e3"]) == expected
