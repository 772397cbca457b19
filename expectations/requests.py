"""Suite of `requests`. Accepts sparse logs: no queries, no prices, no unexposed candidates."""

from expectations.suite import Expectation, RowRule, Suite

SUITE = Suite(
    row_rules=(
        RowRule("request_id_present", "trim(request_id) <> ''", note="the grain; an empty key would collect strangers"),
        RowRule(
            "user_id_present", "trim(user_id) <> ''", note="attribution ties events to requests by it; a null would be lost in the join"
        ),
        RowRule("domain_known", "domain in ('search', 'rec', 'shop')", note="contract; another code is a new source that nobody mapped"),
        RowRule("day_of_requested_at", "day = cast(requested_at as date)", note="contract: the partition is the UTC day of requested_at"),
        RowRule("candidates_listed", "candidates is not null", note="contract; an empty list is a request without results, which is real"),
        RowRule("query_only_in_search", "domain = 'search' or query_norm is null", note="contract: null outside search"),
        RowRule(
            "query_not_empty", "query_norm is null or trim(query_norm) <> ''", note="missing is null: '' would be the most frequent query"
        ),
        RowRule("candidate_item_id_present", "trim(item_id) <> ''", note="key of the list", over="candidates"),
        RowRule(
            "candidate_stage_known",
            "stage in ('recalled', 'pre_ranked', 'ranked', 'exposed')",
            note="contract; the draw of unexposed candidates goes by it",
            over="candidates",
        ),
        RowRule(
            "candidate_stage_exposed",
            "is_exposed = (stage = 'exposed')",
            note="contract: the furthest stage, so exposed if and only if it was shown",
            over="candidates",
        ),
        RowRule("position_of_exposed", "not is_exposed or position >= 1", note="what was shown has a place, from 1", over="candidates"),
        RowRule("position_of_unexposed", "is_exposed or position is null", note="what was not shown has no place", over="candidates"),
        RowRule(
            "propensity_is_chance",
            "propensity is null or propensity between if(is_exposed, 1e-300, 0) and 1",
            note="a chance; weights divide by that of what was shown, so it is above 0",
            over="candidates",
        ),
        RowRule(
            "score_finite",
            "score is null or abs(score) < double('infinity')",
            note="NaN or infinity in one sample spoils a whole batch",
            over="candidates",
        ),
        RowRule("candidate_price_not_negative", "price_cents is null or price_cents >= 0", note="a price", over="candidates"),
    ),
    expectations=(
        Expectation(
            "expect_column_values_to_be_in_set",
            {"column": "is_exposed", "value_set": [True], "mostly": 0.001},
            note="our choice: a funnel of 1,000 candidates shows about 10; below 1 in 1,000 the exposure log is cut off",
            over="candidates",
        ),
        Expectation(
            "expect_column_values_to_be_unique",
            {"column": "position", "mostly": 0.99},
            severity="warning",
            note="our choice: one place shows one item; more than 1 % shared places means pages were merged without their offset",
            over="candidates",
        ),
        Expectation(
            "expect_column_values_to_not_be_null",
            {"column": "query_norm", "mostly": 0.3},
            severity="warning",
            note="our choice; not critical because real logs without text of queries exist (clickouts of lists, micro-behaviours)",
        ),
        Expectation(
            "expect_column_values_to_not_be_null",
            {"column": "session_id", "mostly": 0.9},
            severity="warning",
            note="our choice: sequences cut by session lose what has none",
        ),
        Expectation(
            "expect_column_value_lengths_to_be_between",
            {"column": "query_norm", "max_value": 256, "mostly": 0.999},
            severity="warning",
            note="our choice: people type below 256 characters; longer ones are robots or a broken delimiter",
        ),
        Expectation(
            "expect_column_values_to_be_between",
            {"column": "position", "max_value": 10_000},
            severity="warning",
            note="our choice: nobody pages to 10,000; such places are ids in the wrong column",
            over="candidates",
        ),
        Expectation(
            "expect_column_unique_value_count_to_be_between",
            {"column": "user_id", "min_value": 2},
            severity="warning",
            note="a whole day of one user is a constant in place of a key",
        ),
    ),
)
