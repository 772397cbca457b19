"""Suite of `events`. A pay without amount, a click without request and an event without session are no errors."""

from expectations.suite import Expectation, RowRule, Suite

SUITE = Suite(
    row_rules=(
        RowRule("event_id_present", "trim(event_id) <> ''", note="the grain"),
        RowRule("user_id_present", "trim(user_id) <> ''", note="attribution ties events to requests by it"),
        RowRule("item_id_present", "trim(item_id) <> ''", note="attribution ties events to candidates by it"),
        RowRule(
            "event_type_known",
            "event_type in ('detail', 'click', 'fav', 'cart', 'pay')",
            note="contract; another code would silently never be a label",
        ),
        RowRule("domain_known", "domain in ('search', 'rec', 'shop')", note="contract; another code is a source that nobody mapped"),
        RowRule(
            "not_before_it_happened",
            "event_at <= available_at",
            note="nothing is read before it happens; else a feature would see the future",
        ),
        RowRule("day_of_available_at", "day = cast(available_at as date)", note="contract: the partition is the UTC day of arrival"),
        RowRule("request_id_not_empty", "request_id is null or trim(request_id) <> ''", note="missing is null, never ''"),
        RowRule("amount_not_negative", "amount_cents is null or amount_cents >= 0", note="a refund is no pay; an unknown amount is null"),
        RowRule(
            "dwell_not_negative",
            "dwell_s is null or (dwell_s >= 0 and dwell_s < double('infinity'))",
            note="a duration; NaN and infinity are none",
        ),
    ),
    expectations=(
        Expectation(
            "expect_column_values_to_be_in_set",
            {"column": "event_type", "value_set": ["click"], "mostly": 0.01},
            severity="warning",
            note="our choice: clicks are the commonest label; below 1 in 100 their log did not arrive",
        ),
        Expectation(
            "expect_column_values_to_not_be_null",
            {"column": "request_id", "mostly": 0.1},
            severity="warning",
            note="our choice: without it no event is credited natively; logs that never carry it exist, so no more than a warning",
        ),
        Expectation(
            "expect_column_values_to_be_between",
            {"column": "amount_cents", "max_value": 1_000_000_000},
            severity="warning",
            note="our choice: ten million in the currency's unit; more is a mix-up of units",
        ),
        Expectation(
            "expect_column_values_to_be_between",
            {"column": "dwell_s", "max_value": 86_400, "mostly": 0.999},
            severity="warning",
            note="a visit is shorter than a day of 86,400 s; more is milliseconds taken for seconds",
        ),
    ),
)
