"""Every lowered kind against Great Expectations itself, on nulls, NaN, repeats, odd names, an empty frame and lists."""

import itertools
import math
from datetime import date, datetime

import pytest

from expectations.compile import audit, describe, fingerprint, implied
from expectations.conditions import PAIR
from expectations.engine import check
from expectations.figures import total
from expectations.lower import LOWERED
from expectations.results import plain
from expectations.source import Source, ignored, map_result, quoted
from expectations.suite import Expectation, RowRule, Suite
from expectations.unique import repeats
from schemas.contract import Column, Contract, Elements
from schemas.requests import CONTRACT as REQUESTS
from tests.frames import frame

ODD = "it's `odd`; -- x"
SCHEMA = f"id int, x double, f float, k bigint, s string, d date, t timestamp, b boolean, none double, `{ODD.replace('`', '``')}` string"
NAN = float("nan")


def rows(num):
    """Values with nulls at every fifth, NaN at every eleventh, repeats, both signs, and text with quotes."""
    texts = ["a", "bb", "it's", 'say "so"', "a\\b", "", "100%", None]
    return [
        (
            n,
            None if n % 5 == 0 else NAN if n % 11 == 0 else (n % 7 - 3) / 3,
            None if n % 5 == 1 else (n % 13) / 8,
            None if n % 4 == 0 else n % 6 - 2,
            texts[n % 8],
            date(2026, 1, 1 + n % 28),
            datetime(2026, 1, 1 + n % 28, n % 24, 30),
            None if n % 7 == 0 else n % 2 == 0,
            None,
            texts[(n + 1) % 8],
        )
        for n in range(num)
    ]


def of(kind, over=None, **arguments):
    return Expectation(f"expect_{kind}", arguments, note="test", over=over)


# 60 rows: x is null in 12 and NaN in 4 of them, so 48 values; k is null in 15
CASES = [
    of("table_row_count_to_be_between", min_value=1, max_value=60),
    of("table_row_count_to_be_between", min_value=60, strict_min=True),
    of("column_values_to_not_be_null", column="x", mostly=0.8),  # 48 of 60: exactly 0.8
    of("column_values_to_not_be_null", column="x", mostly=0.81),
    of("column_values_to_not_be_null", column=ODD, mostly=0.5),
    of("column_values_to_be_null", column="x", mostly=0.2),
    of("column_values_to_be_null", column="x", mostly=0.21),
    of("column_values_to_be_null", column="none"),
    of("column_values_to_be_between", column="k", min_value=-2, max_value=3),
    of("column_values_to_be_between", column="k", min_value=-2, strict_min=True),
    of("column_values_to_be_between", column="k", max_value=3, strict_max=True, min_value=-2, mostly=0.5),
    of("column_values_to_be_between", column="x", max_value=1),  # NaN is above every bound
    of("column_values_to_be_between", column="x", min_value=-1),
    of("column_values_to_be_between", column="none", min_value=0),
    of("column_values_to_be_between", column="d", min_value=date(2026, 1, 3), max_value=date(2026, 1, 20)),
    of("column_values_to_be_between", column="t", min_value=datetime(2026, 1, 3)),
    of("column_values_to_be_in_set", column="s", value_set=["a", "it's", 'say "so"', "a\\b", ""]),
    of("column_values_to_be_in_set", column="s", value_set=["a", None]),
    of("column_values_to_be_in_set", column="k", value_set=[-2, 3, 1], mostly=0.5),
    of("column_values_to_be_in_set", column="b", value_set=[True]),
    of("column_values_to_not_be_in_set", column="s", value_set=["it's", "no"], mostly=0.8),
    of("column_values_to_not_be_in_set", column=ODD, value_set=["'; drop"]),
    of("column_values_to_match_regex", column="s", regex=r"^[a-b]+$|'|\\"),
    of("column_values_to_match_regex", column=ODD, regex='"so"$', mostly=0.1),
    of("column_values_to_not_match_regex", column="s", regex="%"),
    of("column_values_to_not_match_regex", column="s", regex="^[0-9]$"),
    of("column_values_to_not_be_in_set", column="s", value_set=["it's", "no"], mostly=0.9),
    of("column_value_lengths_to_be_between", column="s", min_value=1, max_value=4),
    of("column_value_lengths_to_be_between", column="s", min_value=0, strict_min=True, mostly=0.85),
    of("column_pair_values_a_to_be_greater_than_b", column_A="x", column_B="k"),
    of("column_pair_values_a_to_be_greater_than_b", column_A="f", column_B="x", or_equal=True, mostly=0.3),
    of("column_pair_values_a_to_be_greater_than_b", column_A="x", column_B="k", ignore_row_if="either_value_is_missing"),
    of("column_pair_values_a_to_be_greater_than_b", column_A="x", column_B="x", or_equal=True, ignore_row_if="neither"),
    of("column_values_to_be_unique", column="id"),
    of("column_values_to_be_unique", column="x"),
    of("column_values_to_be_unique", column=ODD, mostly=0.01),
    of("compound_columns_to_be_unique", column_list=["id", "s"]),
    of("compound_columns_to_be_unique", column_list=["x", "k"]),
    of("compound_columns_to_be_unique", column_list=["x", "k"], ignore_row_if="any_value_is_missing", mostly=0.3),
    of("compound_columns_to_be_unique", column_list=["none", "k"], ignore_row_if="never"),
    of("column_min_to_be_between", column="k", min_value=-2, max_value=0),
    of("column_min_to_be_between", column="k", min_value=-2, strict_min=True),
    of("column_min_to_be_between", column="none", min_value=-2),
    of("column_max_to_be_between", column="x", max_value=1),  # NaN
    of("column_max_to_be_between", column="d", min_value=date(2026, 1, 28)),
    of("column_max_to_be_between", column="t", max_value=datetime(2026, 1, 28)),
    of("column_mean_to_be_between", column="k", min_value=-1, max_value=1),
    of("column_mean_to_be_between", column="f", min_value=0.5),
    of("column_mean_to_be_between", column="x", min_value=-1),
    of("column_mean_to_be_between", column="none", min_value=-1),
    of("column_sum_to_be_between", column="k", max_value=1),
    of("column_sum_to_be_between", column="f", min_value=1),
    of("column_stdev_to_be_between", column="k", min_value=1, max_value=2),
    of("column_stdev_to_be_between", column="f", max_value=0.1),
    of("column_unique_value_count_to_be_between", column="k", min_value=6, max_value=6),
    of("column_unique_value_count_to_be_between", column="x", min_value=9),
    of("column_proportion_of_unique_values_to_be_between", column="k", max_value=0.1),
    of("column_proportion_of_unique_values_to_be_between", column="none", max_value=0.1),
    of("column_proportion_of_non_null_values_to_be_between", column="x", min_value=0.8),
    of("column_proportion_of_non_null_values_to_be_between", column="x", min_value=0.8, strict_min=True),
    of("column_distinct_values_to_be_in_set", column="k", value_set=[-2, -1, 0, 1]),
    of("column_distinct_values_to_be_in_set", column="s", value_set=["a", "bb", "it's", 'say "so"', "a\\b", "", "100%"]),
    of("column_values_to_be_of_type", column="k", type_="LongType"),
    of("column_values_to_be_of_type", column="k", type_="IntegerType"),
]


def great_expectations(frame, expectations):
    """Results of Great Expectations itself, without a line of ours between."""
    import great_expectations as gx

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False, "metric_calculations": False}
    made = []
    for n, each in enumerate(expectations):
        name = "".join(part.capitalize() for part in each.kind.split("_"))
        arguments = {key: "odd" if value == ODD else value for key, value in each.arguments.items()}
        made.append(getattr(gx.expectations, name)(**arguments, meta={"n": n}))
    batch = (
        context.data_sources.add_spark("spark")
        .add_dataframe_asset("frame")
        .add_batch_definition_whole_dataframe("whole")
        .get_batch(batch_parameters={"dataframe": frame.withColumnRenamed(ODD, "odd")})  # its Spark engine quotes no backtick
    )
    results = batch.validate(gx.ExpectationSuite(name="suite", expectations=made), result_format="BASIC").results
    return [each.to_json_dict() for each in sorted(results, key=lambda each: each.expectation_config.meta["n"])]


def assert_same(expectations, ours, theirs):
    assert len(ours) == len(theirs) == len(expectations) > 0
    for expectation, own, their in zip(expectations, ours, theirs, strict=True):
        where = f"{describe(expectation)} {expectation.arguments}: {own['result']} is not {their['result']} {their['exception_info']}"
        assert own["success"] == their["success"], where
        assert own["exception_info"]["raised_exception"] is their["exception_info"].get("raised_exception") is False, where
        assert own["result"].keys() | {"partial_unexpected_list"} == their["result"].keys() | {"partial_unexpected_list"}, where
        for name, value in their["result"].items():
            if name != "partial_unexpected_list":
                assert same(own["result"][name], value, name), f"{name} of {where}"
        theirs_listed, listed = (each["result"].get("partial_unexpected_list", []) for each in (their, own))
        if not own["success"] and theirs_listed and "unique" not in expectation.kind and "NaN" not in str(listed):
            assert sorted(map(repr, listed)) == sorted(map(repr, map(jsonable, theirs_listed))) or len(listed) == 20, where


def jsonable(value):
    return value.isoformat(timespec="microseconds").removesuffix(".000000") if isinstance(value, datetime) else value


def same(own, their, name):
    if name == "unexpected_count":
        return own == (their or 0)  # Great Expectations has null for some kinds on an empty frame
    if isinstance(own, float) and isinstance(their, int | float):
        return math.isclose(own, their, rel_tol=1e-12)
    return own == their or str(own).removesuffix(".000000") == str(their)


def test_the_cases_cover_every_lowered_kind():
    assert {each.kind for each in CASES} == set(LOWERED)


@pytest.fixture(scope="module")
def audited(spark):
    """The cases on 60 rows and on none: the frame, and our results."""
    frames = {num: spark.createDataFrame(rows(num), SCHEMA) for num in (60, 0)}
    return {num: (data, audit(data, CASES)[0]) for num, data in frames.items()}


def test_both_outcomes_of_each_kind_are_among_the_cases(audited):
    outcomes = {(r["expectation_config"]["type"], r["success"]) for r in audited[60][1]}
    assert outcomes == {(kind, success) for kind in LOWERED for success in (True, False)}


@pytest.mark.parametrize("num", [60, 0])
def test_same_results_as_great_expectations(audited, num):
    data, ours = audited[num]
    assert_same(CASES, ours, great_expectations(data, CASES))


# --- lists

ITEMS = f"id int, items array<struct<key: string, `n.m`: int, w: double, `{ODD.replace('`', '``')}`: string>>, tags array<int>"
LISTS = [
    (0, [("a", 1, 0.5, "x"), ("b", 2, NAN, None), ("a", 1, 0.25, "it's")], [1, 2, 2, None, None]),
    (1, [("a", 1, None, "x"), (None, None, None, None), (None, 3, 1.5, "x")], []),
    (2, [], None),
    (3, None, [3]),
    (4, [None, ("c", 5, -1.0, ""), ("c", 6, 0.5, "x"), ("c", 5, 2.5, "x")], [2, 1, 2]),
]
LIST_CASES = [
    of("table_row_count_to_be_between", "items", min_value=10, max_value=10),
    of("column_values_to_not_be_null", "items", column="key", mostly=0.7),
    of("column_values_to_not_be_null", "items", column="key", mostly=0.71),
    of("column_values_to_be_between", "items", column="n.m", min_value=1, max_value=5),
    of("column_values_to_be_between", "items", column="w", max_value=2),
    of("column_values_to_be_in_set", "items", column=ODD, value_set=["x", "it's"]),
    of("column_values_to_not_be_in_set", "items", column="key", value_set=["c"], mostly=0.5),
    of("column_values_to_match_regex", "items", column="key", regex="[ab]"),
    of("column_value_lengths_to_be_between", "items", column="key", max_value=1),
    of("column_pair_values_a_to_be_greater_than_b", "items", column_A="n.m", column_B="w"),
    of("column_min_to_be_between", "items", column="w", min_value=-1),
    of("column_max_to_be_between", "items", column="n.m", max_value=5),
    of("column_mean_to_be_between", "items", column="n.m", min_value=3, max_value=4),
    of("column_sum_to_be_between", "items", column="n.m", max_value=20),
    of("column_stdev_to_be_between", "items", column="n.m", min_value=1),
    of("column_unique_value_count_to_be_between", "items", column="key", min_value=3, max_value=3),
    of("column_distinct_values_to_be_in_set", "items", column="key", value_set=["a", "b"]),
    of("column_values_to_be_of_type", "items", column="w", type_="DoubleType"),
    of("column_values_to_be_between", "tags", column="element", min_value=1, max_value=2),
    of("column_mean_to_be_between", "tags", column="element", min_value=1),
]


def exploded(spark, over):
    """The list as a frame, made in Python, so that no explode of ours is compared with itself."""
    field = spark.createDataFrame(LISTS, ITEMS).schema[over].dataType.elementType
    position = {"items": 1, "tags": 2}[over]
    elements = [(row[0], element) for row in LISTS for element in row[position] or []]
    if over == "tags":
        return spark.createDataFrame(elements, "id int, element int")
    flat = [(n, *(element or [None] * len(field))) for n, element in elements]
    return spark.createDataFrame(flat, "id int, " + ", ".join(f"`{f.name.replace('`', '``')}` {f.dataType.simpleString()}" for f in field))


def test_elements_of_lists_as_great_expectations_sees_the_exploded_frame(spark):
    ours, _ = audit(spark.createDataFrame(LISTS, ITEMS), LIST_CASES)
    for over in ("items", "tags"):
        own = [n for n, each in enumerate(LIST_CASES) if each.over == over]
        theirs = great_expectations(exploded(spark, over).withColumnRenamed("n.m", "nm"), [renamed(LIST_CASES[n]) for n in own])
        assert_same([LIST_CASES[n] for n in own], [ours[n] for n in own], theirs)


def renamed(expectation):
    """Great Expectations reads a dot as a field of a struct."""
    arguments = {key: "nm" if value == "n.m" else value for key, value in expectation.arguments.items()}
    return Expectation(expectation.kind, arguments, over=expectation.over)


def test_uniqueness_over_a_list_is_within_each_list(spark):
    lists = spark.createDataFrame(LISTS, ITEMS)
    cases = [
        of("column_values_to_be_unique", "items", column="key"),  # a twice in 0, c three times in 4
        of("column_values_to_be_unique", "items", column="n.m", mostly=0.5),
        of("column_values_to_be_unique", "tags", column="element"),
        of("compound_columns_to_be_unique", "items", column_list=["key", "n.m"]),
        of("compound_columns_to_be_unique", "items", column_list=["key", "w"], ignore_row_if="any_value_is_missing"),
    ]
    found, _ = audit(lists, cases)
    assert [r["success"] for r in found] == [False, True, False, False, True]
    assert [r["result"]["unexpected_count"] for r in found] == [5, 4, 4, 4, 0]
    assert sorted(found[0]["result"]["partial_unexpected_list"]) == ["a", "a", "c", "c", "c"]
    for case, own in zip(cases, found, strict=True):  # the same numbers as the exploded rows, unique together with their row
        names = [case.arguments["column"]] if "column" in case.arguments else case.arguments["column_list"]
        frame = exploded(spark, case.over)
        is_missing = " and ".join(f"`{name}` is null" for name in names)
        is_missing = is_missing if len(names) > 1 and "ignore_row_if" not in case.arguments else is_missing.replace("and", "or")
        kept = frame.where(f"not ({is_missing})")
        assert own["result"]["element_count"] == frame.count()
        assert own["result"]["missing_count"] == frame.count() - kept.count()
        repeats = sum(num for *_, num in kept.groupBy("id", *[f"`{name}`" for name in names]).count().collect() if num > 1)
        assert own["result"]["unexpected_count"] == repeats


# --- cost


GROUPS = itertools.count()


def jobs_of(spark, action):
    """The value of the action, and the number of Spark jobs that it ran."""
    context = spark.sparkContext
    group = f"counted {next(GROUPS)}"
    context.setJobGroup(group, group)
    try:
        value = action()
        return value, len(context.statusTracker().getJobIdsForGroup(group))
    finally:
        context.setLocalProperty("spark.jobGroup.id", None)


def test_all_that_needs_no_shuffle_is_one_job_with_the_callers_figures(spark):
    from pyspark.sql import functions as F

    cheap = [each for each in CASES if "unique" not in each.kind]
    data = spark.createDataFrame(rows(60), SCHEMA)
    passing = [case for case, result in zip(cheap, audit(data, cheap)[0], strict=True) if result["success"]]
    assert len(passing) > 20
    (results, values), num_jobs = jobs_of(spark, lambda: audit(data, passing, {"hash": F.sum(F.hash("id")), "num": F.count(F.lit(1))}))
    assert num_jobs == 1
    assert all(result["success"] for result in results)
    assert values == {"hash": data.agg(F.sum(F.hash("id"))).first()[0], "num": 60}


def test_a_list_costs_one_job_more(spark):
    lists = spark.createDataFrame([(0, [("a", 1, 0.5, "x"), ("b", 1, None, "x")], []), (1, [("a", 2, 2.0, None)], None)], ITEMS)
    cases = [of("column_values_to_be_unique", "items", column="key"), of("column_values_to_be_between", "items", column="w", max_value=2)]
    (results, _), num_jobs = jobs_of(spark, lambda: audit(lists, cases))
    assert num_jobs == 2
    assert all(result["success"] for result in results)


def test_sums_do_not_depend_on_the_order_of_rows(spark):
    values = [(1e8 * math.sin(n),) for n in range(5000)]
    wanted = [of("column_mean_to_be_between", column="v", min_value=-1e9), of("column_sum_to_be_between", column="v", min_value=-1e12)]
    orders = [values, values[::-1], sorted(values)]
    found = {tuple(r["result"]["observed_value"] for r in audit(spark.createDataFrame(v, "v double"), wanted)[0]) for v in orders}
    exact = math.fsum(v for (v,) in values)
    assert found == {(exact / 5000, exact)}  # a plain sum gives another last digit for each order


# --- arguments


def test_all_that_is_wrong_is_said_before_any_job(spark):
    wrong = [
        of("column_values_to_be_roughly", column="x"),
        of("column_values_to_not_be_null", column="y"),
        of("column_values_to_not_be_null", "items", column="key"),
        of("column_values_to_not_be_null", "s", column="key"),
        of("column_values_to_not_be_null", colum="x"),
        of("column_values_to_not_be_null", column="x", mostly=80),
        of("column_values_to_be_between", column="x"),
        of("column_values_to_be_between", column="x", min_value=2, max_value=1),
        of("column_values_to_be_between", column="s", min_value=2),
        of("column_values_to_be_in_set", column="s", value_set="abc"),
        of("column_values_to_be_in_set", column="b", value_set=[1]),
        of("column_values_to_match_regex", column="k", regex="1"),
        of("column_mean_to_be_between", column="s", min_value=1),
        of("column_pair_values_a_to_be_greater_than_b", column_A="s", column_B="x"),
        of("compound_columns_to_be_unique", column_list=["x"]),
        of("column_values_to_be_of_type", column="x", type_="BIGINT"),
        of("column_median_to_be_between", column="y"),
    ]
    data = spark.createDataFrame(rows(1), SCHEMA)

    def refused():
        with pytest.raises(ValueError) as error:
            audit(data, wrong)
        return str(error.value)

    message, num_jobs = jobs_of(spark, refused)
    assert num_jobs == 0
    for each in wrong:
        assert f"{describe(each)}: " in message
    for part in (
        "no kind expect_column_values_to_be_roughly",
        "no column 'y'",
        "must be a share",
        "min_value 2 is greater",
        "'s' is string",
    ):
        assert part in message


def test_a_kind_without_lowering_runs_in_great_expectations(spark):
    wanted = [
        of("column_median_to_be_between", column="id", min_value=29.5, max_value=29.5),
        of("table_row_count_to_be_between", min_value=60),
        of("column_value_lengths_to_equal", column="s", value=1),
    ]
    results, values = audit(spark.createDataFrame(rows(60), SCHEMA), wanted, {})
    assert [r["success"] for r in results] == [True, True, False]
    assert [r["expectation_config"]["type"] for r in results] == [each.kind for each in wanted]
    assert results[0]["result"]["observed_value"] == 29.5
    assert results[2]["expectation_config"]["meta"] == {"severity": "critical", "note": "test", "over": None}
    assert values == {}


def test_a_kind_without_lowering_sees_the_elements_of_a_list(spark):
    lists = spark.createDataFrame(LISTS, ITEMS)
    (result,), _ = audit(lists, [of("column_median_to_be_between", "items", column="w", min_value=0.5, max_value=2)])
    assert result["result"]["observed_value"] is not None
    assert result["expectation_config"]["meta"]["over"] == "items"


def test_values_of_unlisted_columns_stay_out_of_the_results(spark):
    data = spark.createDataFrame(rows(60), SCHEMA)
    wanted = [of("column_values_to_be_in_set", column="s", value_set=["a"]), of("column_values_to_be_null", column="k")]
    (hidden, shown), _ = audit(data, wanted, unlisted=["s"])
    assert "partial_unexpected_list" not in hidden["result"]
    assert len(shown["result"]["partial_unexpected_list"]) == 20


# --- contracts

SMALL = Contract(
    name="small",
    grain=("a", "b"),
    owner="o",
    keep_days=1,
    version=1,
    doc="",
    elements=Elements("items", "key"),
    columns=(
        Column("a", "string", "A."),
        Column("b", "int", "B.", nullable=True),
        Column("items", "array<struct<key string not null, w double>>", "I."),
    ),
)


def test_a_contract_implies_its_promises():
    found = {describe(each) for each in implied(SMALL)}
    assert found == {
        "expect_table_row_count_to_be_between",
        "expect_column_values_to_not_be_null (a)",
        "expect_column_values_to_not_be_null (b)",  # of the grain, so never null
        "expect_column_values_to_not_be_null (items)",
        "expect_compound_columns_to_be_unique (['a', 'b'])",
        "expect_column_values_to_not_be_null over items (key)",
        "expect_column_values_to_be_unique over items (key)",
    }
    assert {each.severity for each in implied(SMALL)} == {"critical"}


@pytest.mark.parametrize(
    ("promise", "bad"),
    [
        ("expect_table_row_count_to_be_between", []),
        ("expect_column_values_to_not_be_null (user_id)", [{"user_id": None}]),
        ("expect_column_values_to_be_unique (request_id)", [{"request_id": "r"}, {"request_id": "r"}]),
        ("expect_column_values_to_not_be_null over candidates (stage)", [{"candidates": [{"stage": None}]}]),
    ],
)
def test_each_implied_promise_fails_when_broken(spark, promise, bad):
    results, _ = audit(frame(spark, REQUESTS, bad), implied(REQUESTS))
    failed = [describe(each) for each, result in zip(implied(REQUESTS), results, strict=True) if not result["success"]]
    assert failed == [promise]


def test_the_fingerprint_follows_meaning_and_not_words():
    rule = RowRule("r", "a > 1", note="why")
    suite = Suite(
        (rule,), (of("column_values_to_be_in_set", column="a", value_set=["x", "y"]), of("table_row_count_to_be_between", min_value=1))
    )
    same_suite = Suite((RowRule("r", "a > 1", note="other words"),), suite.expectations[::-1])
    assert fingerprint(suite, SMALL) == fingerprint(same_suite, SMALL)
    others = [
        Suite((RowRule("r", "a > 2"),), suite.expectations),
        Suite((), suite.expectations),
        Suite((rule,), suite.expectations[:1]),
        Suite((rule,), (Expectation(suite.expectations[0].kind, suite.expectations[0].arguments, "warning"), suite.expectations[1])),
    ]
    prints = {fingerprint(each, SMALL) for each in (suite, *others)} | {fingerprint(suite, REQUESTS)}
    assert len(prints) == 6


def test_results_are_plain_json(spark):
    import json

    results, _ = audit(spark.createDataFrame(rows(60), SCHEMA), [CASES[14], CASES[15], CASES[9]])
    assert json.loads(json.dumps(results, allow_nan=False)) == results
    assert plain({"day": date(2026, 1, 5), "set": {2, 1}, "nan": NAN}) == {"day": "2026-01-05", "set": [1, 2], "nan": None}


# --- parts


def test_shares_are_of_the_rows_that_are_not_missing():
    figures = {"count": 10, "missing": 5, "unexpected": 1}
    assert map_result(figures, 0.8)["success"] and not map_result(figures, 0.81)["success"]  # 4 of 5
    assert map_result(figures, 0.8)["result"]["unexpected_percent"] == 20
    assert map_result({"count": 10, "missing": 10, "unexpected": 0}, 1.0)["success"]
    assert map_result({"count": 0, "missing": 0, "unexpected": None}, 1.0)["result"]["unexpected_count"] == 0


def test_a_total_is_put_together_from_its_parts():
    assert total({"num values": 0, "whole": None}) is None
    assert total({"num values": 2, "whole": 3.0, "fine": 2.0**23, "finer": 0.0, "finest": 0.0}) == 3.5


def test_repeats_are_found_at_both_ends_of_a_list(spark):
    lists = spark.createDataFrame([([3, 1, 3, 2, 1],), ([1],), ([],), ([2, 2, 2],)], "keys array<int>")
    assert [row[0] for row in lists.select(repeats(quoted("keys"))).collect()] == [[1, 1, 3, 3], [], [], [2, 2, 2]]


def test_a_source_names_the_columns_it_has(spark):
    source = Source(spark.createDataFrame(LISTS, ITEMS), "items")
    assert source.frame.columns == ["key", "n.m", "w", ODD]
    with pytest.raises(ValueError, match=r"no column 'id'; there are key, n\.m, w"):
        source.column("id")
    with pytest.raises(ValueError, match="ignore_row_if is 'never', must be one of both_values_are_missing"):
        ignored([quoted("w")], "never", PAIR)


def test_great_expectations_own_kinds_are_checked_before_they_run(spark):
    source = Source(spark.createDataFrame(rows(1), SCHEMA))
    with pytest.raises(ValueError, match="refuses its arguments"):
        check(source, of("column_median_to_be_between", column="x", minimum=1))
    with pytest.raises(ValueError, match="no column 'y'"):
        check(source, of("multicolumn_sum_to_equal", column_list=["x", "y"], sum_total=1))
