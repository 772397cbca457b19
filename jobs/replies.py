"""Replies of language models as a pinned input: each is asked for once, kept in a folder, and read from there ever after.

The folder is the input: a rebuild with it gives the same rows and calls nobody; `digest`, summed over the replies that a day used, goes
into its receipt. Replies are added, never changed. A reply lies on disk before the next one is waited for, so a killed run goes on
where it stopped; only calls in flight at that moment are made again.
"""

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from features.generated import OVER_BUDGET, TOKENS_PER_REWRITE, Reply, instruction, rewrites_in
from features.reformulations import UNIT

WAVE = 256  # queries admitted to the budget together
COLUMNS = (
    "query_norm string, rewrites array<string>, status string, "
    "replies bigint, prompt_tokens bigint, completion_tokens bigint, cost_micros bigint, digest bigint"
)
FIGURES = ("replies", "prompt_tokens", "completion_tokens", "cost_micros", "digest")
Ask = Callable[[Sequence[str]], list[Reply]]


@dataclass(frozen=True, kw_only=True)
class Asking:
    """What is asked of whom, where replies are kept and what they may cost."""

    model: str
    """Name or folder of the model; part of what a reply is filed under."""
    folder: str | None
    """Where replies are kept; None keeps none."""
    num_rewrites: int = 5
    batch: int = 8
    """Queries in one call."""
    budget_tokens: int | None = None
    """Tokens that the replies of a day may cost, those read from the folder included; None for no limit."""
    prices: tuple[float, float] = (0.0, 0.0)
    """Of a million prompt and completion tokens, so of one in millionths."""

    def key(self, query: str) -> str:
        """What the reply to a query is filed under: all that is sent but for the other queries of its call."""
        sent = [self.model, instruction(self.num_rewrites), self.max_tokens, query]
        return hashlib.sha256(json.dumps(sent).encode()).hexdigest()

    @property
    def max_tokens(self) -> int:
        return self.num_rewrites * TOKENS_PER_REWRITE

    def bound(self, query: str) -> int:
        """More tokens than a query can cost: bytes are more than tokens, and a query may be asked twice."""
        return 2 * (len(instruction(self.num_rewrites)) + 64 + len(query.encode()) + self.max_tokens)


class Replies:
    """The replies kept in a folder, as one SQLite file; each written for good before `put` returns."""

    def __init__(self, folder: str | None) -> None:
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
        self.file = sqlite3.connect(Path(folder, "replies.sqlite") if folder else ":memory:", timeout=60)
        self.file.execute(
            "create table if not exists replies (key text primary key, query text, model text, status text, reply text, "
            "prompt_tokens integer, completion_tokens integer) without rowid"
        )

    def get(self, keys: Sequence[str]) -> dict[str, Reply]:
        found = {}
        for key in keys:
            row = self.file.execute("select status, reply, prompt_tokens, completion_tokens from replies where key = ?", (key,)).fetchone()
            found |= {key: Reply(*row)} if row else {}
        return found

    def put(self, asking: Asking, replies: dict[str, Reply]) -> None:
        rows = [(asking.key(query), query, asking.model, *reply) for query, reply in replies.items()]
        with self.file:
            self.file.executemany("insert or ignore into replies values (?, ?, ?, ?, ?, ?, ?)", rows)

    def close(self) -> None:
        self.file.close()


def reply_rows(replies: DataFrame) -> DataFrame:
    """Each reply as one row with `reply` (status and FIGURES), and one for each rewrite in it, with score.

    Columns: query_norm, rewrite (null on a reply's own row), score (ten-thousandths: 1 for the first in the reply, 1/2, 1/3 ...), reply.
    """
    reply = F.struct("status", *FIGURES)
    said = F.transform("rewrites", lambda text, n: F.named_struct(F.lit("rewrite"), text, F.lit("score"), (UNIT / (n + 1)).cast("int")))
    own = F.named_struct(F.lit("rewrite"), F.lit(None).cast("string"), F.lit("score"), F.lit(0))
    rows = replies.select("query_norm", reply.alias("reply"), F.explode(F.array_append(said, own)).alias("row"))
    return rows.select("query_norm", "row.rewrite", "row.score", F.when(F.col("row.rewrite").isNull(), F.col("reply")).alias("reply"))


def by_replies(pool: DataFrame, asking: Asking, ask: Ask, parallel: Callable[[], int] = lambda: 1) -> DataFrame:
    """One row for each query of the pool: what the model replied, with the FIGURES of it.

    Columns: needs query_norm, num_searches_28d; gives COLUMNS. rewrites is empty where status is not answered; digest is of key and
    reply. Ties: the most searched come first, then by query_norm; whom the budget leaves out is decided by that order and by the
    tokens of earlier replies, never by time. Cost: one task asks for all, with `parallel()` calls at once: the model is the bottleneck.
    """
    ordered = pool.select("query_norm", "num_searches_28d").repartition(1).sortWithinPartitions(F.desc("num_searches_28d"), "query_norm")

    def reply(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        queries = [query for batch in batches for query in batch.column("query_norm").to_pylist()]
        with closing(Replies(asking.folder)) as kept:
            for wave in waves(queries, asking, ask, kept, parallel()):
                yield pa.RecordBatch.from_pylist([_row(query, asking, said) for query, said in wave.items()], schema=ARROW)

    return ordered.mapInArrow(reply, COLUMNS)


def waves(queries: Sequence[str], asking: Asking, ask: Ask, kept: Replies, parallel: int = 1) -> Iterator[dict[str, Reply]]:
    """Replies to the queries in their order, as many at a time as the budget surely allows; over_budget for the rest."""
    spent, start = 0, 0
    while start < len(queries):
        wave = list(_affordable(queries[start : start + WAVE], asking, spent))
        if not wave:
            yield {query: Reply(OVER_BUDGET, "", 0, 0) for query in queries[start:]}
            return
        found = kept.get([asking.key(query) for query in wave])
        missing = [query for query in wave if asking.key(query) not in found]
        _ask_all(missing, asking, ask, kept, parallel)
        found |= kept.get([asking.key(query) for query in missing])
        replies = {query: found[asking.key(query)] for query in wave}
        spent += sum(said.prompt_tokens + said.completion_tokens for said in replies.values())
        start += len(wave)
        yield replies


def _affordable(queries: Sequence[str], asking: Asking, spent: int) -> Iterator[str]:
    """The first of the queries that can be asked whatever they cost."""
    for query in queries:
        spent += asking.bound(query)
        if asking.budget_tokens is not None and spent > asking.budget_tokens:
            return
        yield query


def _ask_all(queries: Sequence[str], asking: Asking, ask: Ask, kept: Replies, parallel: int) -> None:
    """Ask in calls of `batch`, at most `parallel` at once; each reply is kept as it comes, also when another call fails."""
    calls = [queries[n : n + asking.batch] for n in range(0, len(queries), asking.batch)]
    with ThreadPoolExecutor(parallel) as threads:
        running: dict[Future[list[Reply]], Sequence[str]] = {}
        failure: BaseException | None = None
        while running or (calls and not failure):
            while calls and len(running) < parallel and not failure:
                call = calls.pop(0)
                running[threads.submit(ask, call)] = call
            for future in wait(running, return_when="FIRST_COMPLETED").done:
                call = running.pop(future)
                if future.exception():
                    failure = failure or future.exception()
                else:
                    kept.put(asking, dict(zip(call, future.result(), strict=True)))
    if failure:
        raise failure


def _row(query: str, asking: Asking, said: Reply) -> dict[str, object]:
    tokens = said.prompt_tokens, said.completion_tokens
    cost = round(sum(price * n for price, n in zip(asking.prices, tokens, strict=True)))
    digest = hashlib.sha256(f"{asking.key(query)} {said.status} {said.text}".encode()).digest()
    is_reply = said.status != OVER_BUDGET
    figures = (int(is_reply), *tokens, cost, int.from_bytes(digest[:4], "big") if is_reply else 0)
    rewrites = rewrites_in(said.text)[: asking.num_rewrites]
    return {"query_norm": query, "rewrites": rewrites, "status": said.status, **dict(zip(FIGURES, figures, strict=True))}


ARROW = pa.schema(
    [("query_norm", pa.string()), ("rewrites", pa.list_(pa.string())), ("status", pa.string()), *((name, pa.int64()) for name in FIGURES)]
)
