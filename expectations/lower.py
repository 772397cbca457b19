"""The kinds that are lowered to Spark aggregates, by Great Expectations' name: plain functions whose parameters are its arguments.

All numbers are those of its Spark engine, except that on an empty frame `unexpected_count` is always 0.
"""

from collections.abc import Callable

from pyspark.sql import functions as F

from expectations import conditions as c
from expectations import figures as f
from expectations import unique as u
from expectations.source import Lowered

LOWERED: dict[str, Callable[..., Lowered]] = {
    "expect_table_row_count_to_be_between": f.table_row_count_to_be_between,
    "expect_column_values_to_not_be_null": c.values_to_not_be_null,
    "expect_column_values_to_be_null": c.values_to_be_null,
    "expect_column_values_to_be_between": c.values_to_be_between,
    "expect_column_values_to_be_in_set": c.values_to_be_in_set,
    "expect_column_values_to_not_be_in_set": c.values_to_not_be_in_set,
    "expect_column_values_to_match_regex": c.values_to_match_regex,
    "expect_column_values_to_not_match_regex": c.values_to_not_match_regex,
    "expect_column_value_lengths_to_be_between": c.value_lengths_to_be_between,
    "expect_column_pair_values_a_to_be_greater_than_b": c.pair_values_a_to_be_greater_than_b,
    "expect_column_values_to_be_unique": u.values_to_be_unique,
    "expect_compound_columns_to_be_unique": u.compound_columns_to_be_unique,
    "expect_column_min_to_be_between": f.extreme(F.min),
    "expect_column_max_to_be_between": f.extreme(F.max),
    "expect_column_mean_to_be_between": f.figure(f.parts_of_sum, f.mean),
    "expect_column_sum_to_be_between": f.figure(f.parts_of_sum, f.total),
    "expect_column_stdev_to_be_between": f.figure(lambda value, _: {"stdev": F.stddev_samp(value)}, lambda found: found["stdev"]),
    "expect_column_unique_value_count_to_be_between": f.distinct(as_share=False),
    "expect_column_proportion_of_unique_values_to_be_between": f.distinct(as_share=True),
    "expect_column_proportion_of_non_null_values_to_be_between": f.proportion_of_non_null_values_to_be_between,
    "expect_column_distinct_values_to_be_in_set": f.distinct_values_to_be_in_set,
    "expect_column_values_to_be_of_type": f.values_to_be_of_type,
}
