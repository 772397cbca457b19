from expectations.text_vectors import SUITE
from schemas.text_vectors import CONTRACT
from tests.expectations.tripping import assert_expectations_trip, assert_rules_trip

UNIT = [127, 0, 0, 0]
DIAGONAL = [64, 64, 64, 64]  # 127 / 2 = 63.5, rounded: length 128, and 4 roundings move it by at most 0.5 * sqrt(4) = 1
GOOD = [
    {"kind": "query", "text_id": "shoe", "num_searches_7d": 1, "vector": UNIT},
    {"kind": "item", "text_id": "i1", "vector": DIAGONAL},
]


def test_each_rule_takes_out_its_bad_row(spark):
    good = {"vector": UNIT}
    bad = {
        "kind_known": good | {"kind": "title"},
        "text_id_present": good | {"text_id": ""},
        "text_not_empty": good | {"text": " "},
        "searches_of_queries": good | {"kind": "query"},
        "unit_vector": {"vector": [65, 65, 65, 65]},  # length 130
    }
    assert_rules_trip(spark, CONTRACT, SUITE, GOOD, bad)


def test_each_expectation_fails_on_its_bad_rows(spark):
    bad = {
        "expect_column_unique_value_count_to_be_between (encoder)": [{"encoder": "hash-64"}, {"encoder": "hash-128"}],
        "expect_column_values_to_be_in_set (kind)": [{"kind": "item"}],
        "expect_column_value_lengths_to_be_between (text)": [{"text": "x" * 1001}],
    }
    assert_expectations_trip(spark, CONTRACT, SUITE, GOOD, bad)
