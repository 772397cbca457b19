from expectations.entire_space import SUITE
from schemas.entire_space import CONTRACT
from tests.expectations.tripping import assert_expectations_trip, assert_rules_trip

SHOWN = {"item_id": "a", "is_exposed": True, "position": 1, "sample_type": "exposed", "p_inclusion": 1.0, "weight": 1.0}
DRAWN = {"item_id": "b", "sample_type": "unexposed", "p_inclusion": 0.3, "weight": 1 / 0.3}
CREDIT = {"y_click": 1, "label_source": "native", "attributed_event_id": "e", "attribution_lag_s": 0.0}
NATIVE = {"query_source": "native", "query_norm": "shoe"}
PSEUDO = {
    "request_id": "pseudo:e2",
    "is_pseudo": True,
    "domain": "rec",
    "query_source": "nearest",
    "query_similarity": 0.7,
    "query_norm": "shoe",
    "items": [SHOWN | CREDIT | {"label_source": "searchified", "sample_type": "click"}, SHOWN | {"item_id": "c", "position": None}],
}
GOOD = [
    NATIVE | {"items": [SHOWN | CREDIT | {"y_pay": 1}, DRAWN]},
    NATIVE | {"items": [SHOWN, DRAWN, SHOWN | {"item_id": "c", "position": 2}]},
    PSEUDO,
    PSEUDO | {"request_id": "pseudo:e9", "requested_at": "2026-01-04T23:59:59"},
    NATIVE | {"query_norm": None, "items": [SHOWN]},
]


def native(**fields):
    return NATIVE | {"items": [SHOWN]} | fields


def element(**fields):
    return NATIVE | {"items": [SHOWN | fields]}


def test_each_rule_takes_out_its_bad_row(spark):
    bad = {
        "day_of_requested_at": native(requested_at="2026-01-06T00:00:00"),
        "items_listed": native(items=[]),
        "domain_known": native(domain="ads"),
        "pseudo_outside_search": PSEUDO | {"domain": "search"},
        "pseudo_by_its_id": PSEUDO | {"request_id": "e2"},
        "query_source_known": native(query_source="user_history"),
        "pseudo_has_query": PSEUDO | {"query_norm": None},
        "similarity_of_nearest": PSEUDO | {"query_similarity": None},
        "pseudo_has_one_positive": PSEUDO | {"items": [SHOWN]},
        "item_id_present": element(item_id=""),
        "sample_type_known": element(sample_type="negative"),
        "stage_known": element(stage="shown"),
        "unexposed_not_exposed": element(sample_type="unexposed"),
        "labels_binary": element(y_click=2, y_pay=2),
        "pay_implies_click": element(y_pay=1),
        "label_has_source": element(y_click=1),
        "p_inclusion_is_chance": NATIVE | {"items": [DRAWN | {"p_inclusion": 1.25, "weight": 0.8}]},
        "weight_is_inverse": NATIVE | {"items": [DRAWN | {"weight": 3.3333333}]},  # 3e-8 short, relative 1e-8
        "exposed_always_kept": element(p_inclusion=0.5, weight=2.0),
        "score_finite": element(score=float("inf")),
    }
    assert_rules_trip(spark, CONTRACT, SUITE, GOOD, bad)


def test_each_expectation_fails_on_its_bad_rows(spark):
    late = element(**CREDIT | {"attribution_lag_s": 777_600.0})
    bad = {
        "expect_column_values_to_be_between over items (attribution_lag_s)": [element(**CREDIT | {"attribution_lag_s": -1.0}), late],
        "expect_column_values_to_be_between (query_similarity)": [PSEUDO | {"query_similarity": 1.1}],
        "expect_column_values_to_be_between over items (position)": [element(position=0)],
        "expect_column_mean_to_be_between over items (y_click)": [element()],
        "expect_column_mean_to_be_between over items (weight)": [NATIVE | {"items": [DRAWN | {"weight": 1001.0}]}],
        "expect_column_values_to_be_in_set over items (is_exposed)": [element()],
        "expect_column_values_to_be_in_set (is_pseudo)": [PSEUDO, PSEUDO | {"request_id": "pseudo:e3"}, GOOD[0]],
        "expect_column_values_to_not_be_in_set (query_source)": [PSEUDO, PSEUDO | {"request_id": "pseudo:e3"}, GOOD[0]],
        "expect_column_values_to_not_be_null (query_norm)": [GOOD[4]],
    }
    assert_expectations_trip(spark, CONTRACT, SUITE, GOOD, bad)
