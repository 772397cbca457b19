"""Vectors of texts, and which of them are nearest. All arithmetic on vectors is on whole numbers, so that it has no order.

Two encoders: `hashed_tfidf`, which needs nothing but the texts, and `sentence_vectors`, which runs a model that is given.
Both round unit vectors to 127ths: an inner product is then an exact integer, and below 2^24, where float32 holds it too.
"""

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, ByteType, DataType, DoubleType, LongType, StringType, StructField, StructType

from features.text import words

WIDTH = 256  # texts without a common word have a cosine of 0 +- 1 / 16
SCALE = 127
ENCODER = f"hashed-tfidf-{WIDTH}"
WORD_PART = 12  # a word and the three-letter parts of it weigh about the same, so that shoe is near to shoes
TEXTS_AT_ONCE = 1000  # bounds memory: 1,000 titles of 20 words take 40 MB


def hashed_tfidf(texts: DataFrame, keys: Sequence[str], counted: str | None = None) -> DataFrame:
    """Each text's words, weighted by how rare they are among these texts, projected to WIDTH numbers by hashed signs.

    counted: a boolean column that says among which of them words are counted; None for all. A word that none of these has weighs 1:
    how rare it is nobody knows, and it must not drown the others.
    Rows: those of `texts`, each once; `keys` identify them. Columns: needs text; adds vector (array<tinyint>) and encoder.
    Nulls: vector is null for a text with nothing to read in it.
    A word counts once: titles repeat words to be found. Its weight is log((1 + texts) / (1 + texts with it)) + 1, in hundredths.
    """
    is_counted = F.col(counted) if counted else F.lit(True)
    found = texts.select(*keys, is_counted.alias("is_counted"), F.explode(words(F.col("text"))).alias("word"))
    num_texts = texts.agg(F.count_if(is_counted).alias("n")).scalar()
    rarity = F.when(F.count_if("is_counted") > 0, F.log((1 + num_texts) / (1 + F.count_if("is_counted"))) + 1).otherwise(1.0)
    weights = found.groupBy("word").agg(F.round(100 * rarity).cast("int").alias("weight"))
    bags = (
        found.join(weights, on=["word"], how="inner")  # one weight a word
        .groupBy(*keys)
        .agg(F.collect_list("word").alias("words"), F.collect_list("weight").alias("weights"))  # summed: any order will do
    )
    # array functions of Spark do the same sums 20 times slower: they run without generated code
    vectors = _map_arrow(bags, _project, drop=("words", "weights"), add={"vector": ArrayType(ByteType())})
    return texts.join(vectors, on=list(keys), how="left").withColumn("encoder", F.lit(ENCODER))


def sentence_vectors(texts: DataFrame, model: str) -> DataFrame:
    """Each text by the sentence-transformers model in the folder `model`, which every worker must be able to read.

    Rows: those of `texts`. Columns: needs text; adds vector (array<tinyint>, null for a null text) and encoder.
    """
    added = {"vector": ArrayType(ByteType()), "encoder": StringType()}
    return _map_arrow(texts, lambda batch: _encode(batch, model), drop=(), add=added)


def _encode(batch: pa.RecordBatch, model: str) -> list[pa.Array]:
    """Vectors of texts by a model, and the name of model and width."""
    text = batch.column("text")
    found = _model(model).encode(text.fill_null("").to_pylist(), normalize_embeddings=True, convert_to_numpy=True)
    rows = np.rint(SCALE * np.asarray(found, dtype=np.float64)).astype(np.int8)
    name = f"{Path(model).name}-{rows.shape[1]}"
    return [_lists(rows, text.is_valid().to_numpy(zero_copy_only=False)), pa.array([name] * len(text))]


def with_cosine(pairs: DataFrame, a: str, b: str) -> DataFrame:
    """`pairs` with `cosine` of two vectors in place of them; 0.0 where one is null or all zero."""

    def score(batch: pa.RecordBatch) -> list[pa.Array]:
        left, right = batch.column(a), batch.column(b)
        both = np.flatnonzero(pc.and_(left.is_valid(), right.is_valid()).to_numpy(zero_copy_only=False))
        rows = [matrix(side.take(pa.array(both))).astype(np.int64) for side in (left, right)]
        found = np.zeros(len(left))
        if len(both):
            found[both] = _cosine((rows[0] * rows[1]).sum(axis=1), *((r * r).sum(axis=1) for r in rows))
        return [pa.array(found)]

    return _map_arrow(pairs, score, drop=(a, b), add={"cosine": DoubleType()})


def nearest(left: DataFrame, right: DataFrame, *, left_id: str, right_id: str, blocks: int = 4) -> DataFrame:
    """For each vector of `left` the one of `right` with the greatest inner product, found by exact search.

    Rows: one for each `left_id` with a vector, none where `right` has no vector. Columns: both need their id and vector;
    gives left_id, right_id, cosine. Ties: the smallest right_id. Cost: each side is cut into `blocks` by hash and every pair
    of blocks is searched by one task, which holds both; so each side is shuffled `blocks` times.
    The products are integers below 2^24, exact in float32: `blocks` and the cluster's size change no row.
    """
    if left_id == right_id:
        raise ValueError(f"nearest: both sides call their id {left_id!r}; rename one")
    sides = [
        _in_blocks(left, left_id, "left_block", "right_block", blocks),
        _in_blocks(right, right_id, "right_block", "left_block", blocks),
    ]
    figures = [StructField("score", LongType()), StructField("cosine", DoubleType())]
    schema = StructType([left.schema[left_id], right.schema[right_id], *figures])

    def search(queries: pa.Table, targets: pa.Table) -> pa.Table:
        return _search(queries, targets, left_id, right_id)

    grouped = [side.groupBy("left_block", "right_block") for side in sides]
    found = grouped[0].cogroup(grouped[1]).applyInArrow(search, schema)
    best = F.min(F.struct((-F.col("score")).alias("far"), right_id, "cosine"))
    return found.groupBy(left_id).agg(best.alias("best")).select(left_id, f"best.{right_id}", "best.cosine")


def _in_blocks(side: DataFrame, key: str, own: str, other: str, blocks: int) -> DataFrame:
    """The side cut into blocks, repeated for each block of the other side."""
    cut = side.where(F.col(key).isNotNull() & F.col("vector").isNotNull())
    numbers = F.array(*(F.lit(n) for n in range(blocks)))
    vector = F.col("vector").alias("vector")  # a new column: both sides may stem from one frame
    return cut.select(key, vector, F.pmod(F.xxhash64(key), F.lit(blocks)).cast("int").alias(own), F.explode(numbers).alias(other))


def _search(queries: pa.Table, targets: pa.Table, left_id: str, right_id: str) -> pa.Table:
    """The best target of each query in one pair of blocks."""
    targets = targets.take(pc.sort_indices(targets[right_id]))  # the first of equal targets has the smallest id
    asked, known = matrix(queries["vector"]), matrix(targets["vector"])
    if not len(asked) or not len(known):
        none = {"score": np.zeros(0, dtype=np.int64), "cosine": np.zeros(0)}
        return pa.table({left_id: queries[left_id][:0], right_id: targets[right_id][:0], **none})
    if asked.shape[1] != known.shape[1]:
        raise ValueError(f"nearest: vectors of {asked.shape[1]} and of {known.shape[1]} numbers; encode both sides with one encoder")
    first, place = first_best(asked, known)
    norms = [(m.astype(np.int64) ** 2).sum(axis=1) for m in (asked, known)]
    cosine = _cosine(first, norms[0], norms[1][place])
    return pa.table({left_id: queries[left_id], right_id: targets[right_id].take(pa.array(place)), "score": first, "cosine": cosine})


def first_best(asked: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Greatest inner product of each row of `asked` with a row of `known`, and the first row that has it.

    FAISS promises no order among equal scores: it is asked for more until the last one is worse. Equal rows are searched once.
    """
    import faiss

    faiss.omp_set_num_threads(1)  # a task has one core
    _, kept = np.unique(known.view([("row", f"V{known.shape[1]}")]), return_index=True)
    kept.sort()
    index = faiss.IndexFlatIP(known.shape[1])
    index.add(known[kept].astype(np.float32))
    best, place = np.empty(len(asked), dtype=np.int64), np.empty(len(asked), dtype=np.int64)
    open_rows, wanted = np.arange(len(asked)), 2
    while len(open_rows):
        scores, found = index.search(asked[open_rows].astype(np.float32), min(wanted, len(kept)))
        is_best = scores == scores[:, :1]
        best[open_rows] = scores[:, 0]
        place[open_rows] = np.where(is_best, kept[found], len(known)).min(axis=1)
        open_rows = open_rows[is_best[:, -1]] if wanted < len(kept) else open_rows[:0]
        wanted *= 8
    return best, place


def matrix(vectors: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Lists of equal length as rows. Raises ValueError when they differ in length."""
    vectors = vectors.combine_chunks() if isinstance(vectors, pa.ChunkedArray) else vectors
    widths = pc.unique(pc.list_value_length(vectors)).to_pylist()
    if len(widths) > 1:
        raise ValueError(f"vectors of {' and of '.join(map(str, sorted(widths)))} numbers in one column; encode them with one encoder")
    return vectors.flatten().to_numpy(zero_copy_only=False).reshape(len(vectors), widths[0] if widths else 0)


def _cosine(products: np.ndarray, left_norms: np.ndarray, right_norms: np.ndarray) -> np.ndarray:
    return products / np.sqrt(np.maximum(left_norms * right_norms, 1))


@lru_cache(maxsize=50_000)  # 25 MB; words repeat
def _signs(word: str) -> np.ndarray:
    """WIDTH whole numbers of a word: its own signs, and those of its three-letter parts."""
    parts = [f"^{word}$"[n : n + 3] for n in range(len(word))]
    features = [(WORD_PART, word)] + [(WORD_PART // math.isqrt(len(parts)), f"part {part}") for part in parts]
    total = np.zeros(WIDTH, dtype=np.int16)
    for weight, feature in features:
        digest = hashlib.blake2b(feature.encode(), digest_size=WIDTH // 8).digest()
        total += np.int16(weight) * (2 * np.unpackbits(np.frombuffer(digest, dtype=np.uint8)).astype(np.int16) - 1)
    return total


def _project(batch: pa.RecordBatch) -> list[pa.Array]:
    """Vectors of bags of weighted words."""
    bags, weights = batch.column("words"), batch.column("weights")
    starts = np.concatenate([[0], np.cumsum(pc.list_value_length(bags).to_numpy(zero_copy_only=False))])
    coded = bags.flatten().dictionary_encode()
    table = np.stack([_signs(word) for word in coded.dictionary.to_pylist()]) if len(coded) else np.zeros((0, WIDTH), dtype=np.int16)
    codes, weight = coded.indices.to_numpy(), weights.flatten().to_numpy()
    rows = np.empty((len(bags), WIDTH), dtype=np.int8)
    for low in range(0, len(bags), TEXTS_AT_ONCE):
        high = min(low + TEXTS_AT_ONCE, len(bags))
        span = slice(starts[low], starts[high])
        parts = table[codes[span]].astype(np.int64) * weight[span, None]
        rows[low:high] = _unit(np.add.reduceat(parts, starts[low:high] - starts[low], axis=0))
    return [_lists(rows, rows.any(axis=1))]


def _unit(sums: np.ndarray) -> np.ndarray:
    """Rows of whole numbers at length SCALE, rounded; zeros stay zeros."""
    shift = np.maximum(0, np.ceil(np.log2(np.maximum(np.abs(sums).max(axis=1), 1))) - 26).astype(np.int64)
    sums = sums >> shift[:, None]  # so that squares of a text of thousands of words fit
    norms = np.sqrt((sums * sums).sum(axis=1).astype(np.float64))
    return np.rint(SCALE * sums / np.maximum(norms, 1)[:, None]).astype(np.int8)


@cache
def _model(folder: str) -> Any:
    """The model, loaded once in each worker."""
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise ImportError(f"the model {folder} needs sentence-transformers on every worker: pip install sentence-transformers") from error
    return SentenceTransformer(folder)


def _lists(rows: np.ndarray, is_valid: np.ndarray) -> pa.Array:
    """The rows as lists, null where they are not valid."""
    offsets = np.arange(len(rows) + 1, dtype=np.int32) * rows.shape[1]
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(rows.reshape(-1)), mask=pa.array(~is_valid))


def _map_arrow(
    frame: DataFrame, compute: Callable[[pa.RecordBatch], list[pa.Array]], drop: Sequence[str], add: Mapping[str, DataType]
) -> DataFrame:
    """The frame less the columns of `drop`, with those of `add` computed from each Arrow batch."""
    kept = [field for field in frame.schema.fields if field.name not in drop]
    names = [*(field.name for field in kept), *add]

    def batches(given: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in given:
            if batch.num_rows:
                yield pa.RecordBatch.from_arrays([*(batch.column(f.name) for f in kept), *compute(batch)], names=names)

    return frame.mapInArrow(batches, StructType([*kept, *(StructField(name, kind) for name, kind in add.items())]))
