"""Types from DDL: what is read, what is refused, and that both engines get the same schema."""

import pyarrow as pa
import pytest
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.types import StructType

from schemas.contract import Column, Contract, ContractError, load_all, quarantine_of
from schemas.derive import Field, Type, arrow_schema, parse_type, required_fields, spark_schema

EVERY = (
    "struct<s string not null,n:array<map<string,struct<a tinyint,b double not null>>>,"
    "t timestamp,d date,x binary,f float,l bigint,b boolean,i int>"
)


def one_column(ddl: str) -> Contract:
    return Contract("t", ("c",), "us", 1, 1, "T.", (Column("c", ddl, "C."),))


def test_nested_types_are_read_with_what_may_not_be_null():
    parsed = parse_type("array< struct<item_id string NOT NULL, Price: bigint>>")
    assert parsed == Type(
        "array", (Field("element", Type("struct", (Field("item_id", Type("string"), False), Field("Price", Type("bigint"))))),)
    )
    assert parse_type("struct<key int>").parts == (Field("key", Type("int")),)
    assert parse_type("map<string,array<int>>").parts == (Field("key", Type("string"), False), Field("value", parse_type("array<int>")))


@pytest.mark.parametrize(
    ("ddl", "message"),
    [
        ("varchar", "'varchar' is none of string"),
        ("", "'' is none of"),
        ("array", "'array' is none of"),
        ("array<>", "'>' is none of"),
        ("array<int", "array< is not closed"),
        ("array<int,int>", "array<> holds element, found 2 types"),
        ("map<string>", "map<> holds key and value, found 1 types"),
        ("map<string,int,int>", "map<> holds key and value, found 3 types"),
        ("struct<a int, b>", "is none of"),
        ("struct<a>", "is none of"),
        ("struct<>", "is none of"),
        ("struct<a int,", "is none of"),
        ("struct<a int", "struct< is not closed"),
        ("int int", "nothing may follow int, found int"),
        ("decimal(10,2)", "write it as Spark SQL DDL"),
        ("struct<`a b` int>", "write it as Spark SQL DDL"),
    ],
)
def test_types_that_cannot_be_read_are_contract_errors_that_show_the_type(ddl, message):
    with pytest.raises(ContractError, match=message) as error:
        parse_type(ddl)
    assert repr(ddl) in str(error.value)


def test_arrow_and_spark_agree_on_every_type_and_table(spark):
    contracts = [one_column(EVERY), *load_all(), *map(quarantine_of, load_all())]
    assert len(contracts) >= 15
    for contract in contracts:
        derived, arrow = spark_schema(contract), arrow_schema(contract)
        assert derived.names == arrow.names == [c.name for c in contract.columns]
        assert [plain(f.type) for f in to_arrow_schema(derived)] == [plain(f.type) for f in arrow]
        ddl = StructType.fromDDL(", ".join(f"`{c.name}` {c.type}" for c in contract.columns))
        assert [f.dataType.simpleString() for f in ddl] == [f.dataType.simpleString() for f in derived], "Spark reads the same DDL alike"
    assert arrow_schema(one_column("timestamp")).field("c").type == pa.timestamp("us", tz="UTC")


def plain(kind: pa.DataType) -> object:
    """An Arrow type without names of list elements, nullability and zones, in which the two libraries differ."""
    if pa.types.is_list(kind):
        return [plain(kind.value_type)]
    if pa.types.is_map(kind):
        return {str(plain(kind.key_type)): plain(kind.item_type)}
    if pa.types.is_struct(kind):
        return [(kind.field(i).name, plain(kind.field(i).type)) for i in range(kind.num_fields)]
    return "timestamp" if pa.types.is_timestamp(kind) else str(kind)


def test_no_column_forbids_nulls_so_that_the_gate_can_see_them():
    for contract in load_all():
        assert all(f.nullable for f in arrow_schema(contract)) and all(f.nullable for f in spark_schema(contract))


def test_required_fields_are_those_of_a_list_of_structs():
    assert required_fields(Column("c", "array<struct<a string not null,b int,c array<int> not null>>", "C.")) == ["a", "c"]
    assert required_fields(Column("c", "struct<a string not null>", "C.")) == []
    assert required_fields(Column("c", "array<string>", "C.")) == []
