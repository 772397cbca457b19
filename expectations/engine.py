"""Great Expectations itself, for the kinds that have no lowering. Importing it costs ten seconds, so only they pay for it."""

import os
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from pyspark.sql import DataFrame

from expectations.results import envelope, plain
from expectations.source import Source
from expectations.suite import Expectation

os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")  # before its import: it reports what it runs otherwise


def check(source: Source, expectation: Expectation) -> None:
    """Raise ValueError unless Great Expectations has the kind, takes the arguments and the frame has the columns."""
    named = {"column", "column_A", "column_B"} & expectation.arguments.keys()
    columns = [expectation.arguments[name] for name in sorted(named)]
    columns += expectation.arguments.get("column_list") or []  # type: ignore[operator]
    for column in columns:
        source.type_of(column)  # type: ignore[arg-type]
    _implementation(expectation)


def _implementation(expectation: Expectation) -> Any:
    from great_expectations import expectations
    from great_expectations.exceptions import ExpectationNotFoundError
    from great_expectations.expectations.registry import get_expectation_impl

    assert expectations  # its import registers the kinds
    try:
        kind = get_expectation_impl(expectation.kind)
    except ExpectationNotFoundError as error:
        raise ValueError(f"Great Expectations has no kind {expectation.kind}; look for a slip of the pen") from error
    try:
        return kind(**expectation.arguments, severity=expectation.severity)
    except (ValueError, TypeError) as error:  # pydantic's own error is a ValueError
        raise ValueError(f"Great Expectations refuses its arguments: {error}") from error


def validate(frame: DataFrame, expectations: Sequence[Expectation]) -> list[dict[str, Any]]:
    """Results of the expectations in their order, run by Great Expectations on the rows, or on the exploded list of each `over`."""
    import great_expectations as gx

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False, "metric_calculations": False}
    # a cached copy of the frame would be held for the life of the session
    asset = context.data_sources.add_spark("spark", persist=False).add_dataframe_asset("frame")
    batches = asset.add_batch_definition_whole_dataframe("whole")
    results: dict[int, dict[str, Any]] = {}
    numbered = sorted(enumerate(expectations), key=lambda pair: pair[1].over or "")
    for over, group in groupby(numbered, key=lambda pair: pair[1].over):
        batch = batches.get_batch(batch_parameters={"dataframe": Source(frame, over).frame})
        suite = gx.ExpectationSuite(name=f"suite {over}")
        for n, expectation in group:
            suite.add_expectation(_numbered(expectation, n))
        for result in batch.validate(suite, result_format="BASIC").results:
            n = result.expectation_config.meta["number"]
            found = result.to_json_dict()
            results[n] = envelope(expectations[n], found["success"], plain(found["result"]), found["exception_info"])
    return [results[n] for n in range(len(expectations))]


def _numbered(expectation: Expectation, number: int) -> Any:
    made = _implementation(expectation)
    made.meta = {"number": number}
    return made
