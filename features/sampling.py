"""The draw of ES3: which candidates of a request become samples. Column expressions over the request's own list, no shuffle.

Higher-order functions run without generated code, so each lambda is small and each list is sorted by its natural order.
"""

from collections.abc import Callable

from pyspark.sql import Column
from pyspark.sql import functions as F

from features.es3 import Params
from schemas.requests import STAGES

NO_POSITION = 2**31 - 1


def draw(candidates: Column, request_id: Column, *, params: Params | None = None) -> Column:
    """All exposed candidates of a request and `unexposed_per_exposed` times as many unexposed ones, where it has them.

    Rows: a list in, a list out: exposed by position (nulls last) and item_id, then unexposed by item_id. No exposed, none drawn.
    Columns: elements need item_id, stage, is_exposed, position; they gain p_inclusion, the chance in (0, 1] of being kept:
    1.0 exposed, drawn / available unexposed. Available are those whose stage is one of `ranking_stages`.
    Nulls: a null list gives null.
    Ties: the draw goes by xxhash64(seed, request_id, item_id), then item_id. Of elements with the same item_id the exposed one counts,
    then the lowest position, the latest stage, the first in the list.
    Raises: ValueError when unexposed_per_exposed < 1 or no stage is drawn from.
    Source: UniScale, intra-domain context expansion (uniform over the request's candidates).
    """
    params = params or Params()
    if params.unexposed_per_exposed < 1 or not params.ranking_stages:
        raise ValueError(
            f"draw: unexposed_per_exposed is {params.unexposed_per_exposed}, must be >= 1, and ranking_stages "
            f"{params.ranking_stages} must name a stage; filter on is_exposed to keep no unexposed"
        )

    def in_pool(c: Column) -> Column:
        return ~c["is_exposed"] & c["stage"].isin(*params.ranking_stages)

    def keyed(c: Column) -> Column:
        key = F.xxhash64(F.lit(params.seed), request_id, c["item_id"])
        return F.struct(key.alias("hash"), c["item_id"].alias("item_id"), c.alias("candidate"))

    def drawn_of(shown: Column, pool: Column) -> Column:
        quota = F.least(F.size(shown) * params.unexposed_per_exposed, F.size(pool))
        chance = quota / F.greatest(F.size(pool), F.lit(1))
        lucky = F.transform(F.slice(F.sort_array(F.transform(pool, keyed)), 1, quota), lambda e: _placed(e["candidate"]))
        return F.concat(_with_chance(_sorted(F.transform(shown, _placed)), F.lit(1.0)), _with_chance(_sorted(lucky), chance))

    return _let(
        _distinct(candidates),
        lambda each: _let(
            F.struct(F.filter(each, lambda c: c["is_exposed"]).alias("shown"), F.filter(each, in_pool).alias("pool")),
            lambda parts: drawn_of(parts["shown"], parts["pool"]),
        ),
    )


def draw_counts(candidates: Column, drawn: Column) -> Column:
    """Struct of bigints exposed, unexposed, not_drawn, duplicate that adds up to the size of `candidates`; `drawn` is draw() of it.

    Nulls: a null list counts 0.
    """
    size = F.coalesce(F.size(candidates), F.lit(0))
    distinct = F.coalesce(F.size(F.array_distinct(candidates["item_id"])), F.lit(0))
    kept = F.coalesce(F.size(drawn), F.lit(0))
    exposed = F.coalesce(F.size(F.array_compact(F.transform(drawn["is_exposed"], lambda e: F.when(e, e)))), F.lit(0))
    counts = {"exposed": exposed, "unexposed": kept - exposed, "not_drawn": distinct - kept, "duplicate": size - distinct}
    return F.struct(*(count.cast("bigint").alias(fate) for fate, count in counts.items()))


def _let(value: Column, use: Callable[[Column], Column]) -> Column:
    """`use(value)` with `value` computed once, however often `use` names it."""
    return F.get(F.transform(F.array(value), use), F.lit(0))


def _distinct(candidates: Column) -> Column:
    """The best element of each item_id. Most lists hold no item twice; those are left as they are."""
    stages = F.array(*(F.lit(stage) for stage in STAGES))

    def ranked(c: Column, place: Column) -> Column:
        worth = (~c["is_exposed"], F.coalesce(c["position"], F.lit(NO_POSITION)), -F.array_position(stages, c["stage"]))
        named = (column.alias(name) for column, name in zip(worth, ("is_unexposed", "position", "stage"), strict=True))
        return F.struct(c["item_id"].alias("item_id"), *named, place.alias("place"), c.alias("candidate"))

    def first_of_each(ordered: Column) -> Column:
        return F.filter(ordered, lambda e, n: ~F.get(ordered, n - 1)["item_id"].eqNullSafe(e["item_id"]))

    firsts = _let(F.sort_array(F.transform(candidates, ranked)), first_of_each)
    has_duplicates = F.size(F.array_distinct(candidates["item_id"])) < F.size(candidates)
    return F.when(has_duplicates, F.transform(firsts, lambda e: e["candidate"])).otherwise(candidates)


def _placed(c: Column) -> Column:
    position = F.when(c["is_exposed"], F.coalesce(c["position"], F.lit(NO_POSITION))).otherwise(0)
    return F.struct(position.alias("position"), c["item_id"].alias("item_id"), c.alias("candidate"))


def _sorted(placed: Column) -> Column:
    return F.sort_array(placed)


def _with_chance(placed: Column, chance: Column) -> Column:
    return F.transform(placed, lambda e: e["candidate"].withField("p_inclusion", chance))
