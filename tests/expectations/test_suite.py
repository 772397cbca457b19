import pytest

from expectations.suite import Expectation, RowRule, Suite

KIND = "expect_column_values_to_not_be_null"


@pytest.mark.parametrize(
    ("make", "part"),
    [
        (lambda: Expectation("not_null", {}), "kind is 'not_null'"),
        (lambda: Expectation(KIND, {}, severity="fatal"), "severity is 'fatal', must be one of critical, warning"),
        (lambda: Expectation(KIND, ["column"]), "must map names to values"),
        (lambda: Expectation(KIND, {}, over=""), "over is ''"),
        (lambda: RowRule("Not Snake", "a > 1"), "must be snake_case"),
        (lambda: RowRule("rule", " "), "condition is empty"),
        (lambda: Suite(RowRule("rule", "a > 1")), "row_rules must be a tuple"),
        (lambda: Suite((RowRule("rule", "a > 1"), RowRule("rule", "b > 1"))), "two row rules are named rule"),
        (lambda: Suite(expectations=(RowRule("rule", "a > 1"),)), "expectations must be a tuple of Expectation"),
    ],
)
def test_what_cannot_mean_anything_is_refused_where_it_is_written(make, part):
    with pytest.raises(ValueError, match=part):
        make()


def test_all_faults_are_named_at_once():
    with pytest.raises(ValueError, match=r"kind is 'x'.*severity is 'y'"):
        Expectation("x", {}, severity="y")
