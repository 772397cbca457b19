from expectations.query_stats import SUITE
from schemas.query_stats import CONTRACT
from tests.expectations.tripping import assert_expectations_trip, assert_rules_trip

ROW = {"num_searches_28d": 4, "num_users_28d": 2, "decile": 1, "segment": "head", "hardness": "plain"}
GOOD = [ROW, ROW | {"query_norm": "b", "num_users_28d": 4, "num_clicks_28d": 9, "click_rate": 1.0, "few_result_rate": 0.25, "decile": 10}]


def test_each_rule_takes_out_its_bad_row(spark):
    bad = {
        "query_not_empty": ROW | {"query_norm": ""},
        "searched_by_somebody": ROW | {"num_users_28d": 5},
        "counts_not_negative": ROW | {"num_pays_28d": -1},
        "rates_are_shares": ROW | {"few_result_rate": 1.1},
        "clicks_where_clicked": ROW | {"num_clicks_28d": 1},
        "decile_known": ROW | {"decile": 11},
        "segment_known": ROW | {"segment": "middle"},
        "hardness_known": ROW | {"hardness": "easy"},
    }
    assert_rules_trip(spark, CONTRACT, SUITE, GOOD, bad)


def test_each_expectation_fails_on_its_bad_rows(spark):
    bad = {
        "expect_column_values_to_be_in_set (is_evaluation)": [ROW | {"is_evaluation": True}],
        "expect_column_values_to_be_in_set (hardness)": [ROW | {"hardness": "knowledge"}],
        "expect_column_values_to_be_between (few_result_rate)": [ROW | {"few_result_rate": 1.0}],
    }
    assert_expectations_trip(spark, CONTRACT, SUITE, GOOD, bad)
