"""Suite of `entire_space`: the acceptance checks of ES3 that hold on any log, and shares to watch.

Of the acceptance checks of the UniScale notes these need other tables and are the books' and the tests': each event credited at
most once, no feature later than its request, negatives never among the user's positives.
"""

from expectations.suite import Expectation, RowRule, Suite

SUITE = Suite(
    row_rules=(
        RowRule(
            "day_of_requested_at",
            "if(is_pseudo, cast(requested_at as date) <= day, cast(requested_at as date) = day)",
            note="contract: the UTC day of the request; a pseudo-request has the day of its click, whose list may be from before midnight",
        ),
        RowRule("items_listed", "size(items) > 0", note="a request without samples teaches nothing"),
        RowRule("domain_known", "domain in ('search', 'rec', 'shop')", note="contract; experts and gates are chosen by it"),
        RowRule(
            "pseudo_outside_search", "is_pseudo = (domain <> 'search')", note="contract: pseudo-requests come from clicks outside search"
        ),
        RowRule("pseudo_by_its_id", "is_pseudo = startswith(request_id, 'pseudo:')", note="contract: the two kinds of id may not collide"),
        RowRule(
            "query_source_known",
            "if(is_pseudo, query_source in ('user_history', 'item_stats', 'nearest'), query_source = 'native')",
            note="UniScale, step 3: three levels of query synthesis",
        ),
        RowRule(
            "pseudo_has_query",
            "not is_pseudo or trim(coalesce(query_norm, '')) <> ''",
            note="a click without a query is excluded as no_query",
        ),
        RowRule(
            "similarity_of_nearest",
            "(query_source = 'nearest') = (query_similarity is not null)",
            note="contract: cosine of item and query where nearest",
        ),
        RowRule(
            "pseudo_has_one_positive",
            "not is_pseudo or size(filter(items, i -> i.y_click = 1)) = 1",
            note="UniScale, figure 2: the clicked item is the positive, its neighbours the negatives",
        ),
        RowRule("item_id_present", "trim(item_id) <> ''", note="key of the list", over="items"),
        RowRule("sample_type_known", "sample_type in ('click', 'exposed', 'unexposed')", note="UniScale notes, step 1", over="items"),
        RowRule(
            "stage_known",
            "stage in ('recalled', 'pre_ranked', 'ranked', 'exposed')",
            note="contract of requests",
            over="items",
        ),
        RowRule("unexposed_not_exposed", "sample_type <> 'unexposed' or not is_exposed", note="a sample is of one type", over="items"),
        RowRule("labels_binary", "y_click in (0, 1) and y_pay in (0, 1)", note="losses take nothing else", over="items"),
        RowRule("pay_implies_click", "y_pay <= y_click", note="UniScale notes, step 2: a credited pay also sets the click", over="items"),
        RowRule(
            "label_has_source",
            "(y_click = 1) = (label_source is not null) and (label_source is null) = (attributed_event_id is null)",
            note="every positive names the event that made it, nothing else does",
            over="items",
        ),
        RowRule("p_inclusion_is_chance", "p_inclusion > 0 and p_inclusion <= 1", note="weight divides by it", over="items"),
        RowRule(
            "weight_is_inverse",
            "abs(weight * p_inclusion - 1) <= 1e-9",
            note="contract: weight = 1 / p_inclusion; 1e-9 is far above the rounding of a double",
            over="items",
        ),
        RowRule("exposed_always_kept", "not is_exposed or p_inclusion = 1", note="only unexposed candidates are drawn", over="items"),
        RowRule(
            "score_finite",
            "score is null or abs(score) < double('infinity')",
            note="NaN or infinity in one sample spoils a whole batch",
            over="items",
        ),
    ),
    expectations=(
        Expectation(
            "expect_column_values_to_be_between",
            {"column": "attribution_lag_s", "min_value": 0, "max_value": 777_600, "strict_max": True},
            note="UniScale notes, acceptance: no label event earlier than its request; 9 days is all that the contract's window reads",
            over="items",
        ),
        Expectation(
            "expect_column_values_to_be_between",
            {"column": "query_similarity", "min_value": -1.001, "max_value": 1.001},
            note="a cosine; 0.001 for vectors rounded to 127 steps",
        ),
        Expectation(
            "expect_column_values_to_be_between",
            {"column": "position", "min_value": 1},
            note="contract: places count from 1",
            over="items",
        ),
        Expectation(
            "expect_column_mean_to_be_between",
            {"column": "y_click", "min_value": 0.0001, "max_value": 0.5},
            severity="warning",
            note="our choice: click rates of search pages are 1 to 10 %; a fresh day is below, its labels have not arrived",
            over="items",
        ),
        Expectation(
            "expect_column_mean_to_be_between",
            {"column": "weight", "min_value": 1, "max_value": 1000},
            severity="warning",
            note="our choice: funnels of up to 1,000 candidates per page, 2 unexposed drawn for each exposed",
            over="items",
        ),
        Expectation(
            "expect_column_values_to_be_in_set",
            {"column": "is_exposed", "value_set": [False], "mostly": 0.1},
            severity="warning",
            note="UniScale: 2 of 3 samples are unexposed; below 1 in 10 the log holds hardly any candidate that was not shown",
            over="items",
        ),
        Expectation(
            "expect_column_values_to_be_in_set",
            {"column": "is_pseudo", "value_set": [False], "mostly": 0.5},
            severity="warning",
            note="UniScale: requests double at searchification, so pseudo-requests are at most half",
        ),
        Expectation(
            "expect_column_values_to_not_be_in_set",
            {"column": "query_source", "value_set": ["nearest"], "mostly": 0.5},
            severity="warning",
            note="our choice: the weakest tier in more than half of all rows would let the encoder write the queries",
        ),
        Expectation(
            "expect_column_values_to_not_be_null",
            {"column": "query_norm", "mostly": 0.5},
            severity="warning",
            note="our choice: search models read the query; real logs without any exist",
        ),
    ),
)
