"""Suite of `attributions`: every event once, credit only forward in time."""

from expectations.suite import Expectation, RowRule, Suite

CREDITED = "('native', 'click_exposed', 'click_unexposed', 'pay_clicked', 'pay_exposed', 'pay_unexposed')"

SUITE = Suite(
    row_rules=(
        RowRule("day_of_available_at", "day = cast(available_at as date)", note="contract: the partition is the UTC day of arrival"),
        RowRule(
            "credited_has_request",
            f"(fate in {CREDITED}) = (request_id is not null)",
            note="books: credited and uncredited totals of the receipt go by request_id, accounts by fate",
        ),
        RowRule(
            "request_is_whole",
            "(request_id is null) = (request_day is null) and (request_id is null) = (requested_at is null) "
            "and (request_id is null) = (attribution_level is null) and (request_id is null) = (attribution_lag_s is null)",
            note="what is known of a credited request is known together",
        ),
        RowRule(
            "day_of_request",
            "request_day is null or request_day = cast(requested_at as date)",
            note="entire_space finds the credit of its day by request_day",
        ),
        RowRule(
            "lag_is_difference",
            "attribution_lag_s is null or abs(attribution_lag_s - (unix_micros(event_at) - unix_micros(requested_at)) / 1e6) <= 1e-3",
            note="contract: event_at - requested_at; to the millisecond, since logs round times",
        ),
    ),
    expectations=(
        Expectation(
            "expect_column_values_to_be_between",
            {"column": "attribution_lag_s", "min_value": 0, "max_value": 777_600, "strict_max": True},
            note="UniScale notes, acceptance: no label event earlier than its request; 9 days is all that the contract's window reads",
        ),
        Expectation(
            "expect_column_pair_values_a_to_be_greater_than_b",
            {"column_A": "available_at", "column_B": "event_at", "or_equal": True},
            note="events promises it; a row that breaks it came from elsewhere",
        ),
        Expectation(
            "expect_column_values_to_be_in_set",
            {
                "column": "fate",
                "value_set": [
                    *("native", "click_exposed", "click_unexposed", "pay_clicked", "pay_exposed", "pay_unexposed"),
                    *("no_candidate", "outside_window", "duplicate", "other_type"),
                ],
            },
            note="contract: the fates of its account",
        ),
        Expectation(
            "expect_column_values_to_be_between",
            {"column": "attribution_level", "min_value": 1, "max_value": 6},
            note="UniScale: six levels, native first",
        ),
        Expectation(
            "expect_column_values_to_be_in_set",
            {"column": "event_type", "value_set": ["detail", "click", "fav", "cart", "pay"]},
            note="contract of events",
        ),
        Expectation(
            "expect_column_values_to_not_be_null",
            {"column": "request_id", "mostly": 0.01},
            severity="warning",
            note="our choice: below 1 in 100 credited, requests of another day or another id space were read",
        ),
        Expectation(
            "expect_column_values_to_not_be_in_set",
            {"column": "fate", "value_set": ["duplicate"], "mostly": 0.8},
            severity="warning",
            note="our choice: more than 1 in 5 repeated within half an hour is a log delivered twice",
        ),
    ),
)
