from expectations.hhsft_examples import SUITE
from schemas.features import TYPES
from schemas.hhsft_examples import CONTRACT, ITEM_FEATURES, REQUEST_FEATURES, SEQUENCE_LENGTH
from tests.expectations.tripping import assert_expectations_trip, assert_rules_trip, broken_rules
from tests.frames import frame

SHOWN = {
    "item_id": "a",
    "is_exposed": True,
    "sample_type": "exposed",
    "p_inclusion": 1.0,
    "weight": 1.0,
    "item_hash": 7,
    "item_category": 3,
}
CLICKED = SHOWN | {"y_click": 1, "y_click_native": 1, "sample_type": "click"}
DRAWN = SHOWN | {"item_id": "b", "is_exposed": False, "sample_type": "unexposed", "p_inclusion": 0.3, "weight": 1 / 0.3, "item_tokens": [9]}
SEQUENCES = ("seq_item", "seq_category", "seq_brand", "seq_price", "seq_type", "seq_domain", "seq_age")


def of_acts(values: list[int]) -> dict[str, list[int]]:
    return {name: values for name in SEQUENCES}


SEARCH = {"query_source": "native", "domain_id": 1, "query_hash": 5, "query_tokens": [2, 1], "query_length": 2, "user_activity": 4}
GOOD = [
    SEARCH | {"items": [CLICKED | {"y_pay": 1}, DRAWN, SHOWN | {"item_id": "c"}]} | of_acts([1, 1, 3]),
    SEARCH | {"items": [SHOWN | {"item_category": 0}, DRAWN | {"y_click": 1}], "user_activity": 1, "user_bucket": 99},
    SEARCH | {"items": [SHOWN], "query_hash": 0, "query_tokens": [], "query_length": 0},
    SEARCH | {"items": [CLICKED | {"y_click_native": 0}, SHOWN | {"item_id": "c"}], "is_pseudo": True, "domain_id": 2},
]


def row(**fields):
    return SEARCH | {"items": [SHOWN]} | fields


def element(**fields):
    return SEARCH | {"items": [SHOWN | fields]}


def test_each_rule_takes_out_its_bad_row(spark):
    bad = {
        "items_listed": row(items=[]),
        "user_bucket_in_range": row(user_bucket=100),
        "features_in_range": row(query_tokens=[2, 1 << 16]),
        "sequences_aligned": row(seq_item=[5]),
        "latest_act_first": row(**of_acts([1, 3, 2])),
        "query_has_words": row(query_hash=0),
        "query_words_counted": row(query_length=1),
        "domain_known": row(domain_id=0),
        "pseudo_outside_search": row(is_pseudo=True),
        "item_features_in_range": element(item_tokens=[-1]),
        "title_is_cut": element(item_tokens=[1] * 33),
        "item_known_by_id": element(item_hash=0),
        "labels_binary": element(y_click=2),
        "pay_implies_click": element(y_pay=1),
        "native_click_was_shown": element(y_click_native=1),
        "weight_is_inverse": element(weight=1.00001),
    }
    assert_rules_trip(spark, CONTRACT, SUITE, GOOD, bad)
    assert_rules_trip(
        spark,
        CONTRACT,
        SUITE,
        GOOD,
        bad | {"sequences_aligned": row(**of_acts([1] * (SEQUENCE_LENGTH + 1))), "features_in_range": row(seq_age=[-1])},
    )


def test_every_feature_has_a_range_that_ends_at_its_size(spark):
    """One row for each feature and each value just outside, and just inside, of its range."""
    cases = [(f, make, value) for features, make in ((REQUEST_FEATURES, row), (ITEM_FEATURES, element)) for f in features
             for value in (-1, 0, f.size - 1, f.size)]  # fmt: skip
    rows = [make(**{f.name: [value] if TYPES[f.kind] == "array<int>" else value}) for f, make, value in cases]
    found = broken_rules(frame(spark, CONTRACT, rows), [r for r in SUITE.row_rules if r.name.endswith("features_in_range")])
    assert [bool(found[n]) for n in range(len(rows))] == [value in (-1, f.size) for f, _, value in cases] and len(rows) > 90


def test_each_expectation_fails_on_its_bad_rows(spark):
    bad = {
        "expect_column_values_to_not_be_in_set over items (item_category)": [element(item_category=0), element(item_category=0), row()],
        "expect_column_values_to_not_be_in_set (user_activity)": [row(user_activity=1)],
        "expect_column_mean_to_be_between over items (y_click)": [row()],
    }
    assert_expectations_trip(spark, CONTRACT, SUITE, GOOD, bad)
