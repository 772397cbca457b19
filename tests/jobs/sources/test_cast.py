from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from pyspark.sql import functions as F
from pyspark.sql import types as T

from jobs.sources._cast import cast
from schemas.derive import parse_type

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
BAD = "BAD"
TEXTS = {
    "timestamp": {
        "2026-01-05T12:00:00Z": NOON, "2026-01-05 12:00:00": NOON, "2026-01-05T13:00:00.000+01:00": NOON, "2026-01-05T12:00": NOON,
        "2026-01-05 13:00:00 +0100": NOON, "2026-01-05": NOON.replace(hour=0), " 2026-01-05T12:00:00 ": NOON, "": None, None: None,
        "1767614400": NOON, "1767614400000": NOON, "1767614400000000": NOON, "1767614400000000000": NOON, "1767614400.0": NOON,
        "2026-01-05T12:00:00.123456789Z": NOON.replace(microsecond=123456), "yesterday": BAD, "2026": BAD, "12:00": BAD, "now": BAD,
        "2026-02-30": BAD, "2026-01-05T25:00:00": BAD, "5/1/2026": BAD, "1767": BAD, "-1767614400": BAD,
    },
    "date": {"2026-01-05": date(2026, 1, 5), "2026-01-05T23:00:00Z": date(2026, 1, 5), "2026-1-5": BAD, "20260105": BAD, "today": BAD},
    "int": {"7": 7, "-7": -7, "7.0": 7, "7.": 7, " 7 ": 7, "": None, "7.5": BAD, "seven": BAD, "2147483648": BAD, "1e3": BAD, "0x7": BAD},
    "bigint": {"9223372036854775807": 2**63 - 1, "9223372036854775808": BAD},
    "double": {"0.5": 0.5, "1e-3": 0.001, "7": 7.0, "": None, "half": BAD, "0,5": BAD},
    "boolean": {"true": True, "FALSE": False, "1": True, "0": False, "yes": True, "maybe": BAD, "": None},
    "string": {"x ": "x ", "": "", None: None},
    "array<string>": {'["a", "b"]': ["a", "b"], "Home > Desks": ["Home", "Desks"], "Home": ["Home"], "[]": [], "[a": BAD, "": None},
    "map<string,string>": {'{"a": 1, "b": null}': {"a": "1", "b": None}, "{}": {}, "[1]": BAD, "a=1": BAD},
}  # fmt: skip
STRUCTS = "array<struct<item_id string not null, position int, score double>>"
OTHERS = [  # type, value, wanted, result
    (T.LongType(), 1767614400, "timestamp", NOON), (T.LongType(), 17, "timestamp", BAD), (T.LongType(), 17, "string", "17"),
    (T.LongType(), 3_000_000_000, "int", BAD), (T.LongType(), 1, "boolean", True), (T.LongType(), 2, "boolean", BAD),
    (T.LongType(), 3, "double", 3.0),
    (T.DoubleType(), 17.0, "string", "17"), (T.DoubleType(), 17.5, "string", "17.5"), (T.DoubleType(), 17.0, "int", 17),
    (T.DoubleType(), 17.5, "int", BAD),
    (T.DoubleType(), float("nan"), "int", None), (T.DoubleType(), float("nan"), "string", None), (T.DoubleType(), 1e300, "bigint", BAD),
    (T.DoubleType(), 1767614400.0, "timestamp", NOON), (T.DecimalType(20, 0), Decimal(2**62 + 1), "string", str(2**62 + 1)),
    (T.DateType(), date(2026, 1, 5), "timestamp", NOON.replace(hour=0)), (T.TimestampType(), NOON, "date", date(2026, 1, 5)),
    (T.BooleanType(), True, "string", "true"), (T.ArrayType(T.LongType()), [1, 2], "array<string>", ["1", "2"]),
    (T.StructType([T.StructField("a", T.LongType()), T.StructField("b", T.LongType())]), (1, None), "map<string,string>", {"a": "1"}),
]  # fmt: skip


def outcome(made, name):
    is_bad = F.array_contains(F.array(*(f.is_so for f in made.faults), F.lit(False)), True)
    return F.struct(made.value.alias("value"), is_bad.alias("is_bad")).alias(name)


def check(found, value, expected):
    if expected == BAD:
        assert found["is_bad"], f"{value!r} was taken for {found['value']!r}"
        return
    seen = found["value"].replace(tzinfo=UTC) if isinstance(found["value"], datetime) else found["value"]
    assert (seen, found["is_bad"]) == (expected, False), repr(value)


def test_text_is_cast_or_a_fault(spark):
    cases = [(wanted, text, expected) for wanted, each in TEXTS.items() for text, expected in each.items()]
    frame = spark.createDataFrame([(n, text) for n, (_, text, _) in enumerate(cases)], "n int, text string")
    made = [outcome(cast(F.col("text"), T.StringType(), parse_type(wanted)), wanted) for wanted in TEXTS]
    rows = {row["n"]: row for row in frame.select("n", *made).collect()}
    assert len(rows) == len(cases) > 50
    for number, (wanted, text, expected) in enumerate(cases):
        check(rows[number][wanted], text, expected)


def test_values_of_other_types_are_cast_or_a_fault(spark):
    schema = T.StructType([T.StructField(f"c{n}", kind) for n, (kind, *_) in enumerate(OTHERS)])
    frame = spark.createDataFrame([tuple(value for _, value, _, _ in OTHERS)], schema)
    row = frame.select(
        *(outcome(cast(F.col(f"c{n}"), kind, parse_type(wanted)), f"c{n}") for n, (kind, _, wanted, _) in enumerate(OTHERS))
    ).first()
    for number, (_, value, _, expected) in enumerate(OTHERS):
        check(row[f"c{number}"], value, expected)


def test_lists_of_objects_are_cast_field_by_field(spark):
    texts = {
        '[{"item_id": "a", "position": "2"}, {"item_id": 7, "other": 1}]': [("a", 2, None), ("7", None, None)],
        '[{"sku": "a", "score": "0.5"}]': [("a", None, 0.5)],  # renamed
        "[]": [],
        '[{"item_id": "a"}, {"item_id": "b", "position": "first"}]': "position first",
        '[{"item_id": "a"}, 7]': BAD,
        '["a", "b"]': BAD,
        "a,b": BAD,
    }
    made = cast(F.col("text"), T.StringType(), parse_type(STRUCTS), {"sku": "item_id"})
    shown = F.concat_ws("; ", *(F.when(f.is_so, f.shown) for f in made.faults))
    frame = spark.createDataFrame([(text,) for text in texts], "text string")
    for row in frame.select("text", outcome(made, "made"), shown.alias("shown")).collect():
        expected = texts[row["text"]]
        if isinstance(expected, str):
            assert row["made"]["is_bad"], row["text"]
            assert expected in (BAD, row["shown"])
        else:
            assert ([tuple(e) for e in row["made"]["value"]], row["made"]["is_bad"]) == (expected, False)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [("boolean", "timestamp"), ("binary", "string"), ("timestamp", "int"), ("date", "double"), ("bigint", "date"),
     ("bigint", STRUCTS),
     ("array<bigint>", STRUCTS), ("array<struct<item_id: binary>>", STRUCTS), ("struct<a: int>", "array<string>"),
     ("int", "map<string,string>")],
)  # fmt: skip
def test_types_that_never_fit_have_no_cast(spark, given, wanted):
    kind = spark.createDataFrame([], f"c {given}").schema["c"].dataType
    assert cast(F.lit(None), kind, parse_type(wanted)) is None
