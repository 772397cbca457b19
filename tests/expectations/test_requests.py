from expectations.requests import SUITE
from schemas.requests import CONTRACT
from tests.expectations.tripping import assert_expectations_trip, assert_rules_trip, broken_rules
from tests.frames import frame

SHOWN = {"item_id": "a", "is_exposed": True, "position": 1}
GOOD = [
    {
        "session_id": "s",
        "query_norm": "shoes",
        "candidates": [SHOWN | {"propensity": 0.5, "score": 1.5, "price_cents": 0}, {"propensity": 0.0}],
    },
    {"session_id": "s", "query_norm": "shirt", "user_id": "other", "candidates": [SHOWN, {"item_id": "b", "stage": "recalled"}]},
    {"session_id": "s", "domain": "rec", "candidates": []},
]


def element(**fields):
    return {"candidates": [SHOWN | fields]}


def test_each_rule_takes_out_its_bad_row(spark):
    bad = {
        "request_id_present": {"request_id": " "},
        "user_id_present": {"user_id": None},
        "domain_known": {"domain": "feed"},
        "day_of_requested_at": {"requested_at": "2026-01-06T00:00:00"},
        "candidates_listed": {"candidates": None},
        "query_only_in_search": {"domain": "rec", "query_norm": "shoes"},
        "query_not_empty": {"query_norm": ""},
        "candidate_item_id_present": element(item_id=""),
        "candidate_stage_known": element(stage="shown"),
        "candidate_stage_exposed": element(stage="ranked"),
        "position_of_exposed": element(position=0),
        "position_of_unexposed": element(is_exposed=False, stage="ranked"),
        "propensity_is_chance": element(propensity=0.0),
        "score_finite": element(score=float("nan")),
        "candidate_price_not_negative": element(price_cents=-1),
    }
    assert_rules_trip(spark, CONTRACT, SUITE, GOOD, bad)


def test_sparse_logs_break_no_rule(spark):
    clickout_lists = {"candidates": [SHOWN | {"price_cents": 4500}, {"item_id": "b", "is_exposed": True, "position": 2}]}
    single_domain = {"domain": "shop", "candidates": [SHOWN]}
    found = broken_rules(frame(spark, CONTRACT, [clickout_lists, single_domain]), SUITE.row_rules)
    assert found == {0: set(), 1: set()}


def test_each_expectation_fails_on_its_bad_rows(spark):
    bad = {
        "expect_column_values_to_be_in_set over candidates (is_exposed)": [{"candidates": [{}]}],
        "expect_column_values_to_be_unique over candidates (position)": [{"candidates": [SHOWN, SHOWN | {"item_id": "b"}]}],
        "expect_column_values_to_not_be_null (query_norm)": [{"domain": "rec"}],
        "expect_column_values_to_not_be_null (session_id)": [{"session_id": None}],
        "expect_column_value_lengths_to_be_between (query_norm)": [{"query_norm": "x" * 257}],
        "expect_column_values_to_be_between over candidates (position)": [element(position=10_001)],
        "expect_column_unique_value_count_to_be_between (user_id)": [{"user_id": "u"}, {"user_id": "u"}],
    }
    assert_expectations_trip(spark, CONTRACT, SUITE, GOOD, bad)


def test_an_exposure_log_that_is_cut_off_stops_the_day():
    assert [str(each.arguments["column"]) for each in SUITE.expectations if each.severity == "critical"] == ["is_exposed"]
