"""What users search next when a search brought them nothing, and which words stand for which by it. Rewriter `sessions`.

Source: our choice; reformulations that end in a click are the oldest rewrites (BEQUE, arXiv 2311.03758, reads the same from its log).
"""

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from features.hardness import content_words
from features.longtail import Params
from features.splits import is_evaluation
from features.text import words

ALL = ""
UNIT = 10_000  # strengths and shares are whole numbers of this, so that none depends on the order of a sum


def searches_with_clicks(requests: DataFrame, attributions: DataFrame) -> DataFrame:
    """Searches with a query: request_id, user_id, session_id, requested_at, day, query_norm, and clicked, the items of credited clicks.

    Nulls: clicked is null without a click.
    """
    credited = attributions.where((F.col("event_type") == "click") & F.col("request_id").isNotNull())
    clicks = credited.groupBy("request_id").agg(F.array_sort(F.collect_set("item_id")).alias("clicked"))
    asked = requests.where((F.col("domain") == "search") & F.col("query_norm").isNotNull())
    kept = asked.select("request_id", "user_id", "session_id", "requested_at", "day", "query_norm")
    return kept.join(clicks, on=["request_id"], how="left")  # one row a request


def reformulations(searches: DataFrame, params: Params) -> DataFrame:
    """A query without a click, and the first other one with a click that followed it in the same session.

    Rows: query_norm, follow_up, item_id (null, or one clicked there). Columns: num_sessions, from_day, to_day of these sessions.
    Edges: at most `searches_ahead` searches and less than `reformulated_within_s` seconds later; the query that is searched again
    without a click counts once for a session. Left out: searches without a session. Ties: by request_id.
    """
    session = Window.partitionBy("user_id", "session_id").orderBy("requested_at", "request_id")
    good = F.when(F.col("clicked").isNotNull(), F.struct("query_norm", "requested_at", "clicked"))
    follow = F.first(good, ignorenulls=True).over(session.rowsBetween(1, params.searches_ahead))
    tried = searches.where(F.col("session_id").isNotNull()).withColumn("follow", follow)
    lag = F.unix_micros("follow.requested_at") - F.unix_micros("requested_at")
    failed = tried.where(F.col("clicked").isNull() & (F.col("follow.query_norm") != F.col("query_norm")))
    in_time = failed.where(lag < params.reformulated_within_s * 1_000_000)
    once = in_time.groupBy("user_id", "session_id", "query_norm", F.col("follow.query_norm").alias("follow_up")).agg(
        F.min("day").alias("from_day"), F.max("day").alias("to_day"), F.flatten(F.collect_set("follow.clicked")).alias("clicked")
    )
    items = F.explode_outer(F.array_append(F.array_distinct("clicked"), F.lit(None).cast("string")))  # null stands for the session
    return once.withColumn("item_id", items).groupBy("query_norm", "follow_up", "item_id").agg(*_span(F.count(F.lit(1))))


def clicks_by_query(searches: DataFrame, pairs: DataFrame) -> DataFrame:
    """query_norm, item_id, num_sessions, from_day, to_day: clicks on a query's own results, and on those of what followed it.

    Left out: evaluation queries, on either side of a reformulation.
    """
    own = searches.where(F.col("clicked").isNotNull()).select("query_norm", F.explode("clicked").alias("item_id"), "day")
    own = own.groupBy("query_norm", "item_id").agg(
        F.count(F.lit(1)).alias("num_sessions"), F.min("day").alias("from_day"), F.max("day").alias("to_day")
    )
    followed = learnable(pairs.where(F.col("item_id").isNotNull()), "query_norm", "follow_up").select(*own.columns)
    return learnable(own, "query_norm").unionByName(followed)


def word_events(clicks: DataFrame, pairs: DataFrame, items: DataFrame) -> DataFrame:
    """source, target (arrays of words), num_sessions, from_day, to_day: a query's words beside the clicked title's, or the follow-up's."""
    titles = items.select("item_id", words(F.col("title")).alias("target")).where(F.col("target").isNotNull())
    source, span = content_words(F.col("query_norm")).alias("source"), ("num_sessions", "from_day", "to_day")
    of_titles = clicks.join(titles, on=["item_id"], how="inner").select(source, "target", *span)  # one row an item
    followed = learnable(pairs.where(F.col("item_id").isNull()), "query_norm", "follow_up")
    return of_titles.unionByName(followed.select(source, content_words(F.col("follow_up")).alias("target"), *span))


def associations(events: DataFrame, params: Params, wanted: DataFrame | None = None) -> DataFrame:
    """How strongly a word stands for another: P(target | word), shrunk, times 1 - 1 / lift, in whole ten-thousandths above 0.

    Rows: (word, target). Columns: needs source and target (arrays of words), num_sessions, from_day, to_day; gives word, target,
    strength, num_sessions, from_day, to_day. Formula: n(w, t) / (n(w) + `shrink`) * (1 - n(w) n(t) / (n(w, t) n)).
    `wanted` has the words asked for, all if it is not given.
    """
    total = events.agg(F.sum("num_sessions")).scalar()
    each = events.select(F.explode(_and_all("source")).alias("word"), "target", "num_sessions", "from_day", "to_day")
    if wanted is not None:
        each = each.join(wanted.select(F.explode(F.array("word", F.lit(ALL))).alias("word")), on=["word"], how="left_semi")
    pairs = each.withColumn("target", F.explode(_and_all("target"))).groupBy("word", "target").agg(*_span(F.sum("num_sessions")))
    n_word = F.max(F.when(F.col("target") == ALL, F.col("num_sessions"))).over(Window.partitionBy("word"))
    n_target = F.max(F.when(F.col("word") == ALL, F.col("num_sessions"))).over(Window.partitionBy("target"))
    counted = pairs.withColumns({"n_word": n_word, "n_target": n_target})
    counted = counted.where((F.col("word") != ALL) & (F.col("target") != ALL) & (F.col("word") != F.col("target")))
    chance = F.col("num_sessions") / (F.col("n_word") + params.shrink)
    surprise = 1 - F.col("n_word") * F.col("n_target") / (F.col("num_sessions") * total)
    strength = F.round(UNIT * chance * surprise).cast("int")
    return counted.select("word", "target", strength.alias("strength"), "num_sessions", "from_day", "to_day").where(F.col("strength") > 0)


def _and_all(words_of: str) -> Column:
    """The words, and one that stands for all, so that one pass counts pairs, words and targets."""
    return F.array_append(words_of, F.lit(ALL))


def learnable(pairs: DataFrame, *queries: str) -> DataFrame:
    """The pairs none of whose queries is an evaluation query."""
    for query in queries:
        pairs = pairs.where(~is_evaluation(F.col(query)))
    return pairs


def by_sessions(pool: DataFrame, pairs: DataFrame, params: Params) -> DataFrame:
    """Rewrites of the pool's queries: what followed the query itself, and its words replaced as several sessions replaced them.

    Rows: (query_norm, rewrite), maybe repeated. Columns: pool needs query_norm, wanted, kept; gives query_norm, rewrite, score (ten-
    thousandths), evidence. Score: share of the query's reformulations; of replaced words the mean strength.
    """
    sessions = pairs.where(F.col("item_id").isNull())
    of_query = Window.partitionBy("query_norm")
    share = F.round(UNIT * F.col("num_sessions") / F.sum("num_sessions").over(of_query)).cast("int")
    direct = sessions.withColumn("score", share).join(pool.select("query_norm"), on=["query_norm"], how="left_semi")
    direct = direct.select("query_norm", F.col("follow_up").alias("rewrite"), "score", _evidence().alias("evidence"))
    return direct.unionByName(_replaced(pool, learnable(sessions, "query_norm", "follow_up"), params))


def _replaced(pool: DataFrame, sessions: DataFrame, params: Params) -> DataFrame:
    """Queries with each word in its place replaced as sessions most strongly replaced it, else kept if a title has it, else left out."""
    best = F.max(F.struct("strength", "num_sessions", "target", "from_day", "to_day")).alias("rule")
    rules = _replacements(sessions, params).groupBy("word").agg(best)
    asked = pool.select("query_norm", "kept", "excluded", F.posexplode("wanted").alias("place", "word"))
    told = asked.join(rules, on=["word"], how="left")  # one row a word
    told = told.withColumn("rule", F.when(~F.array_contains("excluded", F.col("rule.target")), F.col("rule")))
    piece = F.coalesce("rule.target", F.when(F.array_contains("kept", F.col("word")), F.col("word")))
    pieces = F.sort_array(F.collect_list(F.struct("place", piece.alias("piece"), "rule"))).alias("told")
    composed = told.groupBy("query_norm").agg(pieces).withColumn("rules", F.array_compact("told.rule")).where(F.size("rules") > 0)
    strength = F.aggregate("rules", F.lit(0), lambda n, rule: n + rule["strength"]) / F.size("rules")
    days = F.array_min("rules.from_day").alias("from_day"), F.array_max("rules.to_day").alias("to_day")
    return composed.select(
        "query_norm",
        F.array_join(F.array_distinct(F.array_compact("told.piece")), " ").alias("rewrite"),
        F.round(strength).cast("int").alias("score"),
        F.struct(*days, F.array_min("rules.num_sessions").alias("num_sessions")).alias("evidence"),  # of the weakest
    )


def _replacements(sessions: DataFrame, params: Params) -> DataFrame:
    """Associations of words that left a query with those that came, each by `min_sessions` and `min_strength` at least.

    Left out: words that stayed in as many sessions as they left.
    """
    sides = content_words(F.col("query_norm")).alias("old"), content_words(F.col("follow_up")).alias("new")
    seen = sessions.select(*sides, "num_sessions", "from_day", "to_day")
    source, target = F.array_except("old", "new").alias("source"), F.array_except("new", "old").alias("target")
    changes = seen.select(source, target, "num_sessions", "from_day", "to_day").where((F.size("source") > 0) & (F.size("target") > 0))
    stay = F.when(F.array_contains("new", F.col("word")), F.col("num_sessions")).otherwise(-F.col("num_sessions"))
    steady = seen.select("new", "num_sessions", F.explode("old").alias("word")).groupBy("word").agg(F.sum(stay).alias("balance"))
    rules = associations(changes, params).join(steady.where(F.col("balance") >= 0), on=["word"], how="left_anti")
    is_strong = F.col("strength") >= round(UNIT * params.min_strength)
    return rules.where(is_strong & (F.col("num_sessions") >= params.min_sessions))


def _evidence() -> Column:
    return F.struct("from_day", "to_day", "num_sessions")


def _span(count: Column) -> list[Column]:
    return [count.alias("num_sessions"), F.min("from_day").alias("from_day"), F.max("to_day").alias("to_day")]
