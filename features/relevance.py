"""Is an item what a query asks for? Two opinions in [0, 1], as whole 1e-4ths: what the log says, and what the texts say.

Business relevance: the query's words, translated into the words of titles that were clicked for them (`query_terms`,
`business_relevance`). General relevance: the cosine of "query rewrite" with the title (`general_relevance`).
Source: two classifiers of arXiv 2602.23620; what stands in for them here is our choice.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from features.hardness import content_words, negated_words
from features.longtail import Params
from features.reformulations import associations, clicks_by_query, learnable, reformulations, searches_with_clicks, word_events
from features.retrieval import Block, dense, ranges
from features.text import words

ONE = 10_000
RIVAL = 8  # tenths of the greatest strength; our choice
SURE = 5_000  # strength that says all of a word that no title has; below, the word is understood in part; our choice
PAIRS_AT_ONCE = 1 << 15  # bounds memory: 32,768 pairs of 256 numbers take 64 MB


def log_terms(
    queries: DataFrame, items: DataFrame, inputs: Mapping[str, DataFrame], log: Params, *, most: int, unknown_weight: float
) -> DataFrame:
    """`query_terms` of these queries, with what the searches of the log taught of words; nothing of evaluation queries.

    Columns: queries need query_norm, each once; items item_id, title. inputs: requests, attributions, query_item_stats.
    """
    searches = searches_with_clicks(inputs["requests"], inputs["attributions"])
    pairs = reformulations(searches, log)
    wanted = queries.select(F.explode(content_words(F.col("query_norm"))).alias("word"))
    learnt = associations(word_events(clicks_by_query(searches, pairs), pairs, items), log, wanted)
    asked = learnable(inputs["query_item_stats"], "query_norm").groupBy("query_norm").agg(F.count(F.lit(1)).alias("num"))
    return query_terms(queries, asked, learnt, title_words(items), most=most, unknown_weight=unknown_weight)


def query_terms(
    queries: DataFrame, asked: DataFrame, learnt: DataFrame, titles: DataFrame, *, most: int, unknown_weight: float
) -> DataFrame:
    """What a title must say to fit each query: terms array<struct<word, weight, targets, strengths>>, and negated array<string>.

    Rows: query_norm, those of `queries`, each once. Columns: queries and asked (of the log) need query_norm, each once; learnt
    word, target, strength (`features.reformulations.associations`); titles words. A term is a content word: function words and
    what is negated are none. Its weight, in hundredths, is log((1 + asked) / (1 + asked with it)) + 1, times `unknown_weight` where
    neither log nor catalogue has it. targets: the `most` title words that stand most strongly for it, ties by word; strengths in
    1e-4ths, relative to the strongest (at least SURE) for a word that no title has: "azure" is said in full by what it means most.
    Cost: shuffles of words by word, those of queries and of titles.
    """
    wanted = queries.select("query_norm", F.explode(content_words(F.col("query_norm"))).alias("word"))
    num_asked = asked.agg(F.count(F.lit(1)).alias("num")).scalar()
    in_log = asked.select(F.explode(content_words(F.col("query_norm"))).alias("word"))
    in_log = in_log.groupBy("word").agg(F.count(F.lit(1)).alias("num_asked"))
    in_titles = titles.select(F.explode("words").alias("word")).groupBy("word").agg(F.count(F.lit(1)).alias("num_titles"))
    strongest = F.sort_array(F.collect_list(F.struct((-F.col("strength")).alias("far"), "target")))
    stands_for = learnt.groupBy("word").agg(F.slice(strongest, 1, most).alias("found"))
    found = wanted
    for facts in (in_log, in_titles, stands_for):
        found = found.join(facts, on=["word"], how="left")  # one row a word each
    is_known = F.coalesce("num_asked", "num_titles", F.size("found")).isNotNull()
    rarity = F.log((1 + num_asked) / (1 + F.coalesce("num_asked", F.lit(0)))) + 1
    weight = F.round(100 * rarity * F.when(is_known, 1.0).otherwise(unknown_weight)).cast("int")
    targets = F.coalesce("found.target", F.array().cast("array<string>"))
    full = F.when(F.col("num_titles").isNull(), F.greatest(-F.try_element_at("found.far", F.lit(1)), F.lit(SURE))).otherwise(ONE)
    strengths = F.coalesce(F.transform("found.far", lambda far: F.round(-far * ONE / full).cast("int")), F.array().cast("array<int>"))
    term = F.struct("word", weight.alias("weight"), targets.alias("targets"), strengths.alias("strengths"))
    terms = found.groupBy("query_norm").agg(F.collect_list(term).alias("terms"))  # summed: any order will do
    return terms.withColumn("negated", negated_words(F.col("query_norm")))


def judge(asks: pa.Table, joints: pa.Table, block: Block, rows: np.ndarray, places: np.ndarray) -> dict[str, np.ndarray]:
    """business and general relevance of (text, item) pairs, in 1e-4ths, and negated: 1 where the title says what the query excludes.

    asks: texts in the order of (id, rewrite), terms and negated words stand at rewrite ''; joints: the vectors of "query rewrite" of
    those with a rewrite, in the same order. rows and places: the pairs, as numbers of rows of asks (never the query alone) and items.
    """
    query_of, is_rewrite = _number_of_query(asks), np.asarray(asks["kind"].to_pylist()) == "rewrite"
    joint_of = np.cumsum(is_rewrite) - 1
    vectors = dense(joints["vector"], block.vectors.shape[1])
    heads = asks.filter(pa.array(~is_rewrite))
    pairs, back = np.unique(query_of[rows] * len(block.item_ids) + places, return_inverse=True)
    query, place = pairs // len(block.item_ids), pairs % len(block.item_ids)
    business, negated = np.zeros(len(pairs), dtype=np.int64), np.zeros(len(pairs), dtype=np.int64)
    terms, excluded = heads["terms"].to_pylist(), heads["negated"].to_pylist()
    strength = np.zeros(len(block.word_ids), dtype=np.int64)
    for low, high in _runs(query):
        business[low:high] = business_relevance(terms[query[low]] or [], block, place[low:high], strength)
        if excluded[query[low]]:
            negated[low:high] = says_any(excluded[query[low]], block, place[low:high], strength)
    general = general_relevance(vectors, block.vectors, joint_of[rows], places)
    return {"p_business": business[back], "p_general": general, "is_negated": negated[back]}


def business_relevance(terms: Sequence[dict], block: Block, places: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """Mean over the terms, by weight, of the strongest word of each title that stands for it; 1 for the word itself. In 1e-4ths.

    A title's word speaks for those terms only for which it stands about as strongly (RIVAL) as for any: in "slicer azure", blue is
    what azure means, though slicers were often blue. strength: zeros, one for each word of the block; they are zeros again afterwards.
    """
    if not terms:
        return np.zeros(len(places), dtype=np.int64)
    weights = np.array([term["weight"] for term in terms])
    values = [dict(zip(term["targets"], term["strengths"], strict=True)) | {term["word"]: ONE} for term in terms]
    tokens, starts = _words_of(block, places)
    stands = np.stack([_strength_of(own, block, tokens, strength) for own in values])
    stands[stands * 10 < stands.max(axis=0) * RIVAL] = 0
    gained = weights @ np.maximum.reduceat(stands, starts, axis=1)
    return (2 * gained + weights.sum()) // (2 * weights.sum())  # rounded half up, in whole numbers


def says_any(excluded: Sequence[str], block: Block, places: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """1 for each title that has one of the words, in singular or plural, and does not exclude it itself."""
    forms = {form for word in excluded for form in (word, f"{word}s", word.removesuffix("s"))}
    tokens, starts = _words_of(block, places)
    said = np.maximum.reduceat(_strength_of(dict.fromkeys(forms, 1), block, tokens, strength), starts)
    for n in np.flatnonzero(said):
        said[n] = int(not forms & set(block.negated[places[n]] or ()))
    return said


def _words_of(block: Block, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ids of the words of these titles, one title after the other, and where each begins."""
    sizes = block.title_starts[places + 1] - block.title_starts[places]
    return block.title_words[ranges(block.title_starts[places], sizes)], np.cumsum(sizes) - sizes


def _strength_of(values: dict[str, int], block: Block, tokens: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """The value of each token, 0 for a word that has none."""
    known = [(block.word_ids[word], value) for word, value in values.items() if word in block.word_ids]
    if not known:
        return np.zeros(len(tokens), dtype=np.int64)
    ids, worth = np.array(known).T
    strength[ids] = worth
    found = strength[tokens]
    strength[ids] = 0
    return found


def general_relevance(asked: np.ndarray, known: np.ndarray, rows: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Cosine of rows of `asked` with places of `known`, at least 0, in 1e-4ths. Products are whole numbers below 2^24, exact in float32."""
    norms = [(side.astype(np.float64) ** 2).sum(axis=1) for side in (asked, known)]
    found = np.zeros(len(rows), dtype=np.int64)
    for low in range(0, len(rows), PAIRS_AT_ONCE):
        row, place = rows[low : low + PAIRS_AT_ONCE], places[low : low + PAIRS_AT_ONCE]
        products = np.einsum("nd,nd->n", asked[row], known[place]).astype(np.float64)
        cosine = products / np.sqrt(np.maximum(norms[0][row] * norms[1][place], 1))
        found[low : low + PAIRS_AT_ONCE] = np.rint(ONE * np.clip(cosine, 0, 1))
    return found


def _number_of_query(asks: pa.Table) -> np.ndarray:
    """Number of the query of each text; the texts of a query follow each other, itself first."""
    ids = asks["id"].combine_chunks().dictionary_encode().indices.to_numpy()
    return ids.astype(np.int64)


def _runs(numbers: np.ndarray) -> list[tuple[int, int]]:
    """Where each run of equal numbers begins and ends."""
    cuts = np.flatnonzero(np.diff(numbers)) + 1
    return list(zip([0, *cuts.tolist()], [*cuts.tolist(), len(numbers)], strict=True)) if len(numbers) else []


def title_words(items: DataFrame) -> DataFrame:
    """item_id and words of each title that has one."""
    return items.select("item_id", words(F.col("title")).alias("words")).where(F.col("words").isNotNull())


def excluded_by_title(title: Column) -> Column:
    """The words that a title itself excludes, so that sugar-free tea is tea without sugar; null for nearly all titles."""
    found = negated_words(title)
    return F.when(F.size(found) > 0, found)
