"""Values as logs write them, cast to the types of a contract: by rules of our own, as Spark's would guess.

Spark takes '2026', 'T12' or 'now' for a timestamp and turns 1e300 into infinity in silence; here what is not plainly such a value
is a fault, and the row that holds it goes to quarantine.
"""

from collections.abc import Callable
from typing import NamedTuple

from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql import types as T

from schemas.derive import Field, Type

TIME = r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}([.]\d{1,9})?)?( ?(Z|UTC|[+-]\d{2}:?\d{2}))?)?$"
EPOCH = r"^\d{9,19}([.]\d{1,9})?$"
DAY = r"^\d{4}-\d{2}-\d{2}$"
WHOLE = r"^[+-]?\d{1,19}([.]0*)?$"
WORDS = {
    "timestamp": "a timestamp (as 2026-01-31T12:00:00Z, UTC where it names no zone, or seconds, ms or us since 1970)",
    "date": "a day (as 2026-01-31)",
    "boolean": "true or false",
    "double": "a number",
    "array": "a JSON list",
    "map": "a JSON object",
} | dict.fromkeys(("tinyint", "int", "bigint"), "a whole number")
INTEGRAL = (T.ByteType, T.ShortType, T.IntegerType, T.LongType)
FRACTIONAL = (T.FloatType, T.DoubleType, T.DecimalType)


class Fault(NamedTuple):
    """A way in which a value cannot be cast: whether it is so, and what the log says there."""

    is_so: Column
    shown: Column
    words: str


class Cast(NamedTuple):
    """A value in the type that is wanted (null where it cannot be), and its faults."""

    value: Column
    faults: tuple[Fault, ...] = ()


def cast(value: Column, given: T.DataType, wanted: Type, renames: dict[str, str] | None = None) -> Cast | None:
    """The value in the wanted type; None when no value of the given type ever is one.

    `renames` (old -> new) are names inside the structs of a list. Nulls stay null, and text that is empty where text is not wanted.
    """
    if wanted.kind == "map":
        return _to_map(value, given)
    if wanted.kind != "array":
        return _scalar(value, given, wanted.kind)
    element = wanted.parts[0].type
    return _to_structs(value, given, element.parts, renames or {}) if element.kind == "struct" else _to_texts(value, given)


def _scalar(value: Column, given: T.DataType, kind: str) -> Cast | None:
    if isinstance(given, T.StringType):
        return Cast(value) if kind == "string" else _checked(F.trim(value), _of_text(F.trim(value), kind), kind, F.trim(value) != "")
    if isinstance(given, T.BooleanType):
        return Cast(value.cast(kind)) if kind in ("boolean", "string") else None
    if isinstance(given, (T.TimestampType, T.DateType)):
        return Cast(value.cast(kind)) if kind in ("timestamp", "date", "string") else None
    if isinstance(given, INTEGRAL):
        return Cast(value.cast("string")) if kind == "string" else _checked(value, _of_number(value, kind), kind)
    if isinstance(given, FRACTIONAL):
        is_missing = F.isnan(value) if not isinstance(given, T.DecimalType) and kind != "double" else F.lit(False)
        known = F.when(~is_missing, value)  # pandas writes a missing whole number as NaN
        if kind == "string":
            return Cast(F.coalesce(_whole(known).cast("string"), known.cast("string")))  # an id that was read as 17.0 is 17
        return _checked(known, _of_number(known, kind), kind)
    return None


def _whole(number: Column) -> Column:
    """The number as bigint where it has no fraction."""
    whole = number.try_cast("bigint")
    return F.when(whole == number, whole)


def _checked(shown: Column, value: Column | None, kind: str, is_given: Column | None = None) -> Cast | None:
    if value is None:
        return None
    is_bad = shown.isNotNull() & value.isNull()
    return Cast(value, (Fault(is_bad if is_given is None else is_bad & is_given, shown.cast("string"), WORDS[kind]),))


def _of_text(text: Column, kind: str) -> Column | None:
    if kind == "timestamp":
        is_epoch = text.rlike(EPOCH)
        return F.when(is_epoch, _epoch(text.try_cast("decimal(38,9)"))).when(text.rlike(TIME), text.try_cast("timestamp"))
    if kind == "date":
        return F.when(text.rlike(DAY), text.try_cast("date")).otherwise(F.when(text.rlike(TIME), text.try_cast("timestamp")).cast("date"))
    if kind in ("tinyint", "int", "bigint"):
        return F.when(text.rlike(WHOLE), F.split_part(text, F.lit("."), F.lit(1)).try_cast(kind))
    return text.try_cast(kind)


def _of_number(number: Column, kind: str) -> Column | None:
    if kind == "timestamp":
        return F.when(F.abs(number) >= 100_000_000, _epoch(number.try_cast("decimal(38,9)")))
    if kind == "boolean":
        return F.when(number.isin(0, 1), number == 1)
    if kind in ("tinyint", "int", "bigint"):
        return _whole(number).try_cast(kind)
    return number.cast("double") if kind == "double" else None


def _epoch(number: Column) -> Column:
    """Time of seconds, ms, us or ns since 1970: by size, as seconds reach 10^11 only in the year 5138."""
    micros = F.when(number < 100_000_000_000, number * 1_000_000).when(number < 100_000_000_000_000, number * 1000)
    micros = micros.when(number < 100_000_000_000_000_000, number).otherwise(number / 1000)
    return F.timestamp_micros(micros.try_cast("bigint"))


def _to_map(value: Column, given: T.DataType) -> Cast | None:
    kind = "map<string,string>"
    if isinstance(given, T.MapType):
        return Cast(value.cast(kind))
    if isinstance(given, T.StructType):
        return Cast(F.map_filter(F.from_json(F.to_json(value), kind), lambda _, each: each.isNotNull()))
    return _of_json(value, kind, "map") if isinstance(given, T.StringType) else None


def _of_json(text: Column, kind: str, words: str) -> Cast:
    parsed = F.from_json(text, kind)
    return Cast(parsed, (Fault(text.isNotNull() & (F.trim(text) != "") & parsed.isNull(), text, WORDS[words]),))


def _to_texts(value: Column, given: T.DataType) -> Cast | None:
    """A list of strings; of text a JSON list, or else parts between `>`."""
    if isinstance(given, T.ArrayType) and not isinstance(given.elementType, (T.ArrayType, T.MapType, T.StructType)):
        return Cast(value.cast("array<string>"))
    if not isinstance(given, T.StringType):
        return None
    is_json = F.trim(value).startswith("[")
    parts = F.transform(F.split(value, ">"), lambda part: F.trim(part))
    listed = F.from_json(value, "array<string>")
    return Cast(F.when(is_json, listed).when(F.trim(value) != "", parts), (Fault(is_json & listed.isNull(), value, WORDS["array"]),))


def _to_structs(value: Column, given: T.DataType, wanted: tuple[Field, ...], renames: dict[str, str]) -> Cast | None:
    """A list of structs, field by field; what an element lacks is null, what else it has is left out."""
    if isinstance(given, T.StringType):
        names = dict.fromkeys([f.name for f in wanted] + list(renames))
        given = T.ArrayType(T.StructType([T.StructField(name, T.StringType()) for name in names]))
        parsed = _of_json(value, given.simpleString(), "array")
        cast_list = _to_structs(parsed.value, given, wanted, renames)
        return cast_list and Cast(cast_list.value, parsed.faults + cast_list.faults)
    if not (isinstance(given, T.ArrayType) and isinstance(given.elementType, T.StructType)):
        return None
    inside = {f.name: f.dataType for f in given.elementType.fields}
    if any(_field(F.lit(None), inside, each, renames) is None for each in wanted):
        return None

    def element(of: Column) -> Column:
        return F.struct(*(_field(of, inside, each, renames).value.alias(each.name) for each in wanted))

    faults = [Fault(F.coalesce(F.exists(value, lambda e: e.isNull()), F.lit(False)), F.lit("null"), "an object in every place")]
    for each in wanted:
        faults += _faults_inside(value, inside, each, renames)
    return Cast(F.transform(value, element), tuple(faults))


def _field(of: Column, inside: dict[str, T.DataType], wanted: Field, renames: dict[str, str]) -> Cast | None:
    """The field of an element under its own name, or one of those that are renamed to it."""
    names = [name for name in (wanted.name, *(old for old, new in renames.items() if new == wanted.name)) if name in inside]
    casts = [_scalar(of[name], inside[name], wanted.type.kind) for name in names]
    if None in casts:
        return None
    null = F.lit(None).cast(wanted.type.kind)
    return Cast(F.coalesce(*(each.value for each in casts), null), tuple(fault for each in casts for fault in each.faults))


def _faults_inside(value: Column, inside: dict[str, T.DataType], wanted: Field, renames: dict[str, str]) -> list[Fault]:
    count = len(_field(F.lit(None), inside, wanted, renames).faults)

    def fault(element: Column, number: int) -> Fault:
        return _field(element, inside, wanted, renames).faults[number]

    return [
        _fault_inside(value, lambda element, n=n: _field(element, inside, wanted, renames).faults[n], wanted.name) for n in range(count)
    ]


def _fault_inside(value: Column, fault: Callable[[Column], Fault], name: str) -> Fault:
    bad = F.filter(value, lambda element: fault(element).is_so)
    shown = F.get(F.transform(bad, lambda element: F.concat(F.lit(f"{name} "), fault(element).shown)), F.lit(0))
    return Fault(F.coalesce(F.size(bad) > 0, F.lit(False)), shown, fault(F.lit(None)).words)
