"""Point-in-time join: for each row the latest fact that was available before its time."""

from collections.abc import Sequence

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F


def as_of(
    left: DataFrame,
    facts: DataFrame,
    *,
    on: Sequence[str],
    left_time: str,
    values: Sequence[str],
    ties: Sequence[str],
    facts_time: str = "available_at",
    max_age_s: int | None = None,
    into: str = "fact",
) -> DataFrame:
    """`left` with one struct `into`: facts_time and `values` of the latest fact of its keys with facts_time < left_time.

    Rows: those of left, each once, whatever repeats on either side.
    Columns: left gains `into`, null where there is no such fact; a null inside it is a null of that fact. Facts need `on`, facts_time,
    `values`, `ties`.
    Units: max_age_s in seconds; a fact counts in left_time - max_age_s <= facts_time < left_time. None: any age.
    Nulls: a null key or time, on either side, has no fact and is none.
    Ties: of facts with the same keys and time the one with the greatest `ties`, nulls least; together they must tell facts apart.
    Cost: one shuffle of both sides by `on` and one sort; select narrow columns of both. A hot key is one task: linear, its sort
    spills to disk, nothing is paired.
    Raises: ValueError when columns are missing or already there, or `on`, `values` or `ties` is empty, or max_age_s < 1.
    """
    _check(left, facts, on=on, left_time=left_time, values=values, ties=ties, facts_time=facts_time, max_age_s=max_age_s, into=into)
    fact = F.struct(facts_time, *(name for name in values if name != facts_time))
    dated = facts.where(F.col(facts_time).isNotNull()).dropna("any", subset=list(on))
    timeline = left.select(
        *on, F.col(left_time).alias("__at"), F.lit(False).alias("__is_fact"), F.struct(*left.columns).alias("__left")
    ).unionByName(
        dated.select(
            *on,
            F.col(facts_time).alias("__at"),
            F.lit(True).alias("__is_fact"),
            fact.alias("__fact"),
            F.struct(*(F.col(name).alias(f"t{n}") for n, name in enumerate(ties))).alias("__ties"),
        ),
        allowMissingColumns=True,
    )
    # equality is the future: at the same time left rows (false) come before facts (true)
    before = Window.partitionBy(*on).orderBy("__at", "__is_fact", "__ties").rowsBetween(Window.unboundedPreceding, Window.currentRow)
    latest = F.last("__fact", ignorenulls=True).over(before)
    joined = timeline.withColumn("__fact", latest).where(~F.col("__is_fact"))
    known = F.col("__fact")
    if max_age_s is not None:
        is_young = F.unix_micros("__at") - F.unix_micros(known[facts_time]) <= max_age_s * 1_000_000
        known = F.when(is_young, known)
    return joined.select(*(F.col("__left")[name].alias(name) for name in left.columns), known.alias(into))


def _check(
    left: DataFrame,
    facts: DataFrame,
    *,
    on: Sequence[str],
    left_time: str,
    values: Sequence[str],
    ties: Sequence[str],
    facts_time: str,
    max_age_s: int | None,
    into: str,
) -> None:
    problems = [f"{name} is empty" for name, given in (("on", on), ("values", values), ("ties", ties)) if not given]
    problems += [f"left lacks {name}" for name in (*on, left_time) if name not in left.columns]
    problems += [f"facts lack {name}" for name in (*on, facts_time, *values, *ties) if name not in facts.columns]
    problems += [f"left already has {into}, choose another `into`"] if into in left.columns else []
    problems += [f"max_age_s is {max_age_s}, must be >= 1 or None"] if max_age_s is not None and max_age_s < 1 else []
    if problems:
        raise ValueError(f"as_of: {'; '.join(problems)}")
