"""Rewriters that are language models, as the options of query_rewrites name them: a folder's model, or a server's."""

from functools import partial

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from features.generated import Reply, replies_of_model
from features.rewrites import GENERATED
from jobs import endpoint as server
from jobs.messages import UsageError
from jobs.replies import Asking, by_replies, reply_rows

PROMPTS_AT_ONCE = 16
"""Queries in one batch of a model that is run here."""
NO_EVIDENCE = "struct<from_day: date, to_day: date, num_sessions: bigint>"


def generated(
    name: str,
    pool: DataFrame,
    *,
    model: str | None,
    endpoint: str | None,
    replies: str | None,
    budget_tokens: int | None,
    prices: str | None,
) -> DataFrame:
    """Rewrites of the pool by the rewriter `name`, and one row for each reply: query_norm, rewrite, score, evidence (null), reply.

    Columns: the pool needs query_norm, num_searches_28d. Raises UsageError when an option that it needs is missing.
    """
    if name == "model":
        if not model:
            raise UsageError("rewriter model: no --model; give the folder of a causal language model, readable on every worker")
        asking = Asking(model=model, folder=replies, batch=PROMPTS_AT_ONCE, budget_tokens=budget_tokens)
        said = by_replies(pool, asking, partial(_of_model, asking=asking))
    else:
        missing = {"--endpoint MODEL": endpoint, "--replies FOLDER": replies, "--budget-tokens N": budget_tokens}
        if absent := [option for option, value in missing.items() if not value]:
            raise UsageError(f"rewriter endpoint: no {', '.join(absent)}; replies cost money, so it says whom, where kept and how many")
        asking = Asking(model=endpoint, folder=replies, budget_tokens=budget_tokens, prices=_prices(prices))
        said = by_replies(pool, asking, partial(server.ask, asking=asking), server.parallel)
    return reply_rows(said).withColumns({"evidence": F.lit(None).cast(NO_EVIDENCE), "rewriter": F.lit(name)})


def wanted(names: str | None, model: str | None, endpoint: str | None, known: tuple[str, ...]) -> list[str]:
    """The rewriters asked for, in their order of precedence: those named, else all that need no model and those that one is given for.

    Raises UsageError for a name that none has.
    """
    given = {"model": model, "endpoint": endpoint}
    chosen = names.split(",") if names else [name for name in known if name not in GENERATED or given[name]]
    if unknown := sorted(set(chosen) - set(known)):
        raise UsageError(f"no rewriter {', '.join(unknown)}; there are {', '.join(known)}")
    return [name for name in known if name in chosen]


def _of_model(queries: list[str], asking: Asking) -> list[Reply]:
    return replies_of_model(asking.model, queries, asking.num_rewrites, asking.batch)


def _prices(text: str | None) -> tuple[float, float]:
    """`0.15,0.60`: of a million prompt tokens, of a million completion tokens."""
    try:
        prompt, completion = map(float, (text or "0,0").split(","))
    except ValueError as error:
        raise UsageError(
            f"--prices is {text!r}, must be two numbers such as 0.15,0.60: per million prompt and completion tokens"
        ) from error
    return prompt, completion
