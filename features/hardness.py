"""What makes a query hard for a search that matches words: it asks, compares, excludes, or says it in other words than the catalogue.

Cues are English and Chinese words, our choice after the four hard types of LREM (arXiv 2510.14321): Q&A, alternative, negative, knowledge.
"""

from collections.abc import Callable

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from features.text import WORD, norm_query, words

TYPES = ("question", "alternative", "negation", "knowledge", "plain")
"""In order of precedence."""
_QUESTION = (
    r"^(what|which|who|whom|whose|when|where|why|how|does|(can|should|do|could) (i|you|we)|(is|are) (it|there|they))( |$)"
    r"|(^| )(what|how|where) (to|do|can)( |$)"
)
_QUESTION_MARKS = r"[?？]\s*$|怎么|如何|什么|哪|吗$"
_ALTERNATIVE = (
    r"(^| )(alternatives?|substitutes?|equivalents?|dupes?|replacement) (to|for|of)( |$)|(^| )(alternatives?|dupes?)$"
    r"|(^| )(instead of|rather than|similar to|(cheap|bett|small|light|strong)er than)( |$)|[^ ] like (?!new)[^ ]"
)
_ALTERNATIVE_MARKS = "平替|替代|代替|类似"
_EXCLUDING = "(?:without|no|not|non|except|excluding|minus|sans|free (?:from|of))"
_BETWEEN = "(?: (?:a|an|the|any|too|very|made|of|from|with|in|for|containing|being))*"
_NEGATED = rf"(?:^| ){_EXCLUDING}{_BETWEEN} ((?!\d)[^ ]+(?: (?:or|and|nor) [^ ]+)*)"  # no 5 is a number, not a negation
_LACKING = r"(?<![^ ])((?!hands |toll )[^ ]+) free(?! (?:from|of) )(?= |$)"  # sugar free; hands free is a feature
_NEGATION_MARKS = "不含|不带|不要|除了"
_REPLACED = (
    r"(?:^| )(?:(?:alternatives?|substitutes?|equivalents?|dupes?|replacement) (?:to|for|of)|instead of|rather than|similar to"
    r"|(?:cheap|bett|small|light|strong)er than|(?<=[^ ] )like(?! new))(?: (?:a|an|the|my|your))* ([^ ]+)"
)
_NO_CONTENT = """
a an and any are as at be by can could do does for from has have how i if in instead is it its like made me my no non not of off on or
sans should similar so some something than that the their them then there these they thing things this those to too used using want was
need needs help helps one we what when where which while who whom whose why will with without you your
alternative alternatives substitute except excluding minus nor rather dupe dupes equivalent equivalents
replacement free cheaper better
"""


def hardness(query: Column, is_carried: Column) -> Column:
    """One of TYPES: the first whose cue the query has; knowledge where no title carries all its content words, else plain.

    Nulls: null for a query that `norm_query` leaves empty.
    """
    return F.coalesce(hardness_by_cue(query), F.when(norm_query(query).isNotNull(), F.when(is_carried, "plain").otherwise("knowledge")))


def hardness_by_cue(query: Column) -> Column:
    """question, alternative or negation; null for a query without a cue of these."""
    normal, spoken = norm_query(query), _spoken(query)
    return (
        F.when(spoken.rlike(_QUESTION) | normal.rlike(_QUESTION_MARKS), "question")
        .when(spoken.rlike(_ALTERNATIVE) | normal.rlike(_ALTERNATIVE_MARKS), "alternative")
        .when(spoken.rlike(_NEGATED) | spoken.rlike(_LACKING) | normal.rlike(_NEGATION_MARKS), "negation")
    )


def negated_words(query: Column) -> Column:
    """The words that a query excludes: sugar of `tea without sugar`, `non sugar sweets` and `sugar-free`, kavo of `desk like kavo`.

    Empty for most queries, and for one that has no other content.
    """
    return _let(_told(query), _excluded)


def content_words(query: Column) -> Column:
    """The query's words less function words, words of the cues, and those that it excludes; all words where none is left.

    Nulls: null for a query that `norm_query` leaves empty.
    """
    return _let(_told(query), lambda told: F.array_except(told["telling"], _excluded(told)))


def with_carried(queries: DataFrame, titles: DataFrame) -> DataFrame:
    """`queries` with is_carried: some title has all content words of the query.

    Rows: those of `queries`, each query_norm once. Columns: needs query_norm; titles need item_id, title.
    Cost: each query is compared with the titles that have its rarest word.
    """
    wanted = queries.select("query_norm", content_words(F.col("query_norm")).alias("wanted"))
    by_word = titles.select("item_id", words(F.col("title")).alias("carried")).select(
        "item_id", "carried", F.explode("carried").alias("word")
    )
    counts = by_word.groupBy("word").agg(F.count(F.lit(1)).alias("num_titles"))
    found = wanted.select("query_norm", "wanted", F.explode("wanted").alias("word")).join(counts, on=["word"], how="inner")  # one a word
    rarest = found.groupBy("query_norm", "wanted").agg(
        F.min(F.struct("num_titles", "word")).alias("rarest"), F.count(F.lit(1)).alias("num")
    )
    possible = rarest.where(F.col("num") == F.size("wanted")).select("query_norm", "wanted", F.col("rarest.word").alias("word"))
    hits = possible.join(by_word, on=["word"], how="inner").where(F.size(F.array_except("wanted", "carried")) == 0)
    carried = hits.groupBy("query_norm").agg(F.max(F.lit(True)).alias("is_carried"))
    return queries.join(carried, on=["query_norm"], how="left").withColumn("is_carried", F.coalesce("is_carried", F.lit(False)))


def _told(query: Column) -> Column:
    """telling: the words of the query less function words, all where none is left; named: those that cues of exclusion name."""
    no_content = F.split(F.lit(" ".join(_NO_CONTENT.split())), " ")
    patterns = (_NEGATED, _LACKING, _REPLACED)

    def telling(every: Column) -> Column:
        return _let(F.array_except(every, no_content), lambda left: F.when(F.size(left) > 0, left).otherwise(every))

    def named(spoken: Column) -> Column:
        found = F.concat(*(F.regexp_extract_all(spoken, F.lit(pattern), F.lit(1)) for pattern in patterns))
        return F.array_except(F.split(F.array_join(found, " "), " "), F.split(F.lit(",or,and,nor"), ","))

    spoken = F.coalesce(_spoken(query), F.lit(""))
    # named_struct: inside an explode or an aggregate Spark forgets the aliases of a struct
    return F.named_struct(F.lit("telling"), _let(words(query), telling), F.lit("named"), _let(spoken, named))


def _excluded(told: Column) -> Column:
    """What is named, unless nothing else is told."""
    is_rest = F.size(F.array_except(told["telling"], told["named"])) > 0
    return F.when(is_rest, told["named"]).otherwise(F.array().cast("array<string>"))


def _let(value: Column, body: Callable[[Column], Column]) -> Column:
    """`body` of a value that is computed once, however often the body names it."""
    return F.element_at(F.transform(F.array(value), body), 1)


def _spoken(query: Column) -> Column:
    """All words of the normalised query in order, repeated ones too, with single spaces: sugar-free is sugar free."""
    return F.array_join(F.regexp_extract_all(norm_query(query), F.lit(WORD), F.lit(0)), " ")
