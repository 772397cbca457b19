"""Which items of a catalogue a text finds, by its words (BM25) and by its vector (inner product): exact top lists, block by block.

The catalogue is cut into a fixed number of blocks by hash. One task holds a block, indexes it once and searches every text in it.
Scores are whole numbers, made of figures of the whole catalogue, and ties fall to the smallest item_id: neither the number of blocks
nor the size of the cluster changes a row.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from features.text import bag
from features.vectors import SCALE, matrix

IMPACT = 10_000  # BM25 in 1e-4ths: the rarest word of 100 M titles scores 184,000, a text of 10,000 such words still fits 32 bits
SLACK = 14  # FAISS promises no order among equal scores: a few more are asked for, to see where they end
ASKED_AT_ONCE = 4096  # bounds memory: scores and places of 64 hits each take 3 MB


@dataclass(frozen=True)
class Block:
    """A part of the catalogue, its items in the order of their ids."""

    item_ids: pa.Array
    vectors: np.ndarray
    """float32 [items, width]; 0 for a title without a vector."""
    word_ids: Mapping[str, int]
    title_words: np.ndarray
    """Ids of the words of all titles, one title after the other."""
    title_starts: np.ndarray
    impacts: np.ndarray
    """BM25 of each of these words in its title, in 1e-4ths."""
    negated: list[list[str] | None]
    """Words that a title itself excludes."""


Judge = Callable[[pa.Table, pa.Table, Block, np.ndarray, np.ndarray], Mapping[str, np.ndarray]]


def bm25_impacts(items: DataFrame, *, k1: float, b: float) -> DataFrame:
    """What each word of a title adds to the score of a text that has it: words array<string>, impacts array<int>, in 1e-4ths.

    Rows: item_id, those with a word in the title. Columns: needs item_id, title.
    BM25 as in Lucene: log(1 + (N - n + 0.5) / (n + 0.5)) * tf / (tf + k1 * (1 - b + b * length / mean length)), rounded; N titles,
    n of them with the word. Cost: one shuffle of the words of titles by word, one by item.
    """
    titles = items.select("item_id", bag(F.col("title")).alias("bag")).where(F.col("bag").isNotNull())
    catalogue = titles.agg(F.struct(F.count(F.lit(1)).alias("num"), F.sum(F.size("bag")).alias("length")).alias("of")).scalar()
    num, length = catalogue.getField("num"), catalogue.getField("length")
    different = F.array_distinct("bag")
    tf = F.transform(different, lambda word: F.struct(word.alias("word"), F.size(F.filter("bag", lambda w: w == word)).alias("tf")))
    found = titles.select("item_id", F.size("bag").alias("length"), F.inline(tf))
    rarity = found.groupBy("word").agg(F.log(1 + (num - F.count(F.lit(1)) + 0.5) / (F.count(F.lit(1)) + 0.5)).alias("rarity"))
    damping = k1 * (1 - b + b * F.col("length") * num / length)
    impact = F.round(IMPACT * F.col("rarity") * F.col("tf") / (F.col("tf") + damping)).cast("int")
    of_words = found.join(rarity, on=["word"], how="inner").groupBy("item_id")  # one rarity a word
    listed = of_words.agg(F.collect_list(F.struct("word", impact.alias("impact"))).alias("listed"))  # summed: any order will do
    return listed.select("item_id", F.col("listed.word").alias("words"), F.col("listed.impact").alias("impacts"))


def search(rows: DataFrame, *, num_hits: int, min_cosine: float, blocks: int, judge: Judge, judged: tuple[str, ...]) -> DataFrame:
    """The best items of each query and rewrite in each block, with what `judge` says of them: bm25 and dense, the best first.

    Rows in: kind item (id is the item_id), query and rewrite (id is the query_norm; what is searched), joint (a query with its
    rewrite; what is judged). Columns: kind, id, rewrite ('' where there is none), vector, words (those of titles with impacts), and what
    `judge` reads. Rows out: (block, id, rewrite) of kind query and rewrite; `merged` makes one list of those of all blocks.
    bm25, dense: array<struct<far, item_id, *judged>>, far being minus the score; at most num_hits, with a score above 0 or a cosine
    of at least min_cosine. A rewrite's hits are judged, those of the query alone are 0.
    Cost: one shuffle; each task holds a block of the catalogue and all texts.
    """
    texts = F.array(*(F.lit(n) for n in range(blocks)))
    own = F.array(F.pmod(F.xxhash64("id"), F.lit(blocks)).cast("int"))
    placed = rows.withColumn("block", F.explode(F.when(F.col("kind") == "item", own).otherwise(texts)))
    hit = "struct<" + ", ".join(["far: int", "item_id: string", *(f"{name}: int" for name in judged)]) + ">"

    def search_block(table: pa.Table) -> pa.Table:
        return _search_block(table, num_hits, min_cosine, judge, judged)

    schema = f"id string, rewrite string, bm25 array<{hit}>, dense array<{hit}>"
    return placed.repartition(blocks, "block").groupBy("block").applyInArrow(search_block, schema)  # a task a block, but for collisions


def merged(found: DataFrame, num_hits: int) -> DataFrame:
    """One row per (id, rewrite): the best hits of all blocks in bm25 and dense. Rows with one id lie in one partition."""

    def best(channel: str) -> Column:
        return F.slice(F.sort_array(F.flatten(F.collect_list(channel))), 1, num_hits).alias(channel)

    return found.repartition("id").groupBy("id", "rewrite").agg(best("bm25"), best("dense"))


def _search_block(table: pa.Table, num_hits: int, min_cosine: float, judge: Judge, judged: tuple[str, ...]) -> pa.Table:
    """The best items of one block for each text."""
    asks = table.filter(pc.is_in(table["kind"], pa.array(["query", "rewrite"]))).sort_by([("id", "ascending"), ("rewrite", "ascending")])
    joints = table.filter(pc.equal(table["kind"], "joint")).sort_by([("id", "ascending"), ("rewrite", "ascending")])
    block = _block(table.filter(pc.equal(table["kind"], "item")).sort_by("id"), _width(table["vector"]))
    least = max(1, round(min_cosine * SCALE * SCALE))
    channels = {
        "bm25": best_by_words(asks["words"].to_pylist(), block, num_hits),
        "dense": best_by_product(dense(asks["vector"], block.vectors.shape[1]), block.vectors, num_hits, least),
    }
    sizes = {name: len(rows) for name, (rows, _, _) in channels.items()}
    rows, places = (np.concatenate([channels[name][n] for name in channels]) for n in (0, 1))
    said = _judged(asks, joints, block, rows, places, judge, judged)
    columns, start = {"id": asks["id"], "rewrite": asks["rewrite"]}, 0
    for name, (of, at, scores) in channels.items():
        fields = [pa.array(-scores, pa.int32()), block.item_ids.take(pa.array(at))]
        fields += [pa.array(said[one][start : start + sizes[name]], pa.int32()) for one in judged]
        ends = np.concatenate([[0], np.cumsum(np.bincount(of, minlength=len(asks)))])
        hits = pa.StructArray.from_arrays(fields, names=["far", "item_id", *judged])
        columns[name] = pa.ListArray.from_arrays(pa.array(ends, pa.int32()), hits)
        start += sizes[name]
    return pa.table(columns)


def _judged(
    asks: pa.Table, joints: pa.Table, block: Block, rows: np.ndarray, places: np.ndarray, judge: Judge, judged: tuple[str, ...]
) -> dict[str, np.ndarray]:
    """What `judge` says of each hit; asked once of a (text, item) that both channels found, and not of the queries themselves."""
    said = {name: np.zeros(len(rows), dtype=np.int64) for name in judged}
    wanted = np.flatnonzero(pc.equal(asks["kind"], "rewrite").to_numpy(zero_copy_only=False)[rows]) if len(rows) else rows
    if len(wanted):
        pairs, back = np.unique(rows[wanted] * len(block.item_ids) + places[wanted], return_inverse=True)
        answers = judge(asks, joints, block, pairs // len(block.item_ids), pairs % len(block.item_ids))
        for name in judged:
            said[name][wanted] = answers[name][back]
    return said


def _block(items: pa.Table, width: int) -> Block:
    words = items["words"].combine_chunks()
    coded = words.flatten().dictionary_encode()
    return Block(
        item_ids=items["id"].combine_chunks(),
        vectors=dense(items["vector"], width),
        word_ids={word: n for n, word in enumerate(coded.dictionary.to_pylist())},
        title_words=coded.indices.to_numpy(),
        title_starts=np.concatenate([[0], np.cumsum(pc.list_value_length(words).fill_null(0).to_numpy())]).astype(np.int64),
        impacts=items["impacts"].combine_chunks().flatten().to_numpy(),
        negated=items["negated"].to_pylist(),
    )


def best_by_words(texts: list[list[str] | None], block: Block, num_hits: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of texts, places of items and their BM25, of the `num_hits` best of each text with a score above 0; ties by place.

    bm25s holds the block as one sparse matrix of words by titles and adds up the columns of a text's words.
    """
    import bm25s

    by_word = np.argsort(block.title_words, kind="stable")
    lengths = np.bincount(block.title_words, minlength=len(block.word_ids))
    index = bm25s.BM25(dtype="int32")
    index.scores = {
        "data": block.impacts[by_word],
        "indices": np.repeat(np.arange(len(block.item_ids), dtype=np.int32), np.diff(block.title_starts))[by_word],
        "indptr": np.concatenate([[0], np.cumsum(lengths)]),
        "num_docs": len(block.item_ids),
    }
    index.nonoccurrence_array = None
    rows, places, scores = [], [], []
    for row, words in enumerate(texts):
        known = [block.word_ids[word] for word in words or () if word in block.word_ids]
        if not known:
            continue
        found = index.get_scores_from_ids(known)
        place = first_best(found, num_hits)
        rows.append(np.full(len(place), row))
        places.append(place)
        scores.append(found[place])
    none = [np.zeros(0, dtype=np.int64)]
    return tuple(np.concatenate(none + parts).astype(np.int64) for parts in (rows, places, scores))


def first_best(scores: np.ndarray, num: int) -> np.ndarray:
    """Places of the `num` greatest scores above 0, the greatest first, ties by place."""
    places = np.flatnonzero(scores)
    values = scores[places]
    if len(values) > num:
        least = np.partition(values, len(values) - num)[len(values) - num]
        places, values = places[values >= least], values[values >= least]
    return places[np.argsort(-values, kind="stable")][:num]


def best_by_product(asked: np.ndarray, known: np.ndarray, num_hits: int, least: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of `asked`, places in `known` and inner products, of the `num_hits` greatest of each row from `least` on; ties by place.

    Exact in float32 while products are below 2^24. Equal rows of `known` are searched once.
    """
    import faiss

    none = np.zeros(0, dtype=np.int64)
    if not len(asked) or not len(known):
        return none, none, none
    faiss.omp_set_num_threads(1)  # a task has one core
    _, kept, same = np.unique(known.view([("row", f"V{known.dtype.itemsize * known.shape[1]}")]), return_index=True, return_inverse=True)
    members, sizes = np.argsort(same.reshape(-1), kind="stable"), np.bincount(same.reshape(-1))
    starts = np.concatenate([[0], np.cumsum(sizes)])[:-1]
    index = faiss.IndexFlatIP(known.shape[1])
    index.add(np.ascontiguousarray(known[kept]))
    parts = []
    for low in range(0, len(asked), ASKED_AT_ONCE):
        row, twin, score = _products(index, asked[low : low + ASKED_AT_ONCE], num_hits, least)
        size = np.minimum(sizes[twin], num_hits)
        place = members[ranges(starts[twin], size)]
        row, score = np.repeat(row, size), np.repeat(score, size)
        order = np.lexsort((place, -score, row))
        row, place, score = row[order], place[order], score[order]
        rank = np.arange(len(row)) - np.searchsorted(row, row)
        parts.append([one[rank < num_hits] for one in (row + low, place, score)])
    return tuple(np.concatenate(columns) for columns in zip(*parts, strict=True))


def _products(index: object, asked: np.ndarray, num_hits: int, least: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, places in the index and scores: all that may be among the `num_hits` best, ties at the end included."""
    rows, open_rows, wanted = [], np.arange(len(asked)), num_hits + SLACK
    while len(open_rows):
        scores, found = index.search(asked[open_rows], min(wanted, index.ntotal))
        is_tied = (scores[:, -1] == scores[:, min(num_hits, scores.shape[1]) - 1]) & (scores[:, -1] >= least)
        is_open = is_tied if wanted < index.ntotal else np.zeros(len(open_rows), dtype=bool)
        row, column = np.nonzero((scores >= least) & ~is_open[:, None])
        rows.append((open_rows[row], found[row, column], scores[row, column].astype(np.int64)))
        open_rows, wanted = open_rows[is_open], wanted * 8
    return tuple(np.concatenate(columns) for columns in zip(*rows, strict=True))


def ranges(starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The numbers from each start on, as many as its size, one after the other."""
    ends = np.cumsum(sizes)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - (ends - sizes), sizes)


def _width(vectors: pa.ChunkedArray) -> int:
    return int(pc.max(pc.list_value_length(vectors)).as_py() or 1)


def dense(vectors: pa.ChunkedArray, width: int) -> np.ndarray:
    """Vectors as rows of float32, 0 for a null. Raises ValueError when they differ in length."""
    rows = np.zeros((len(vectors), width), dtype=np.float32)
    there = vectors.is_valid().to_numpy(zero_copy_only=False) if len(vectors) else np.zeros(0, dtype=bool)
    if there.any():
        rows[there] = matrix(vectors.drop_null())
    return rows
