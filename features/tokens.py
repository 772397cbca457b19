"""Texts as bags of small integers: hashed words, pairs of neighbouring words and three-letter parts. One form for queries and titles."""

from pyspark.sql import Column
from pyspark.sql import functions as F

from features.buckets import hashed


def token_ids(found: Column, size: int, *, most_words: int, most_parts: int) -> Column:
    """Hashes in [1, size) of the first `most_words` words, of each word with the one after it, and of the first `most_parts` parts.

    found: array<string>, of `features.text.words`. A part is three letters of ^word$, so that shoe is near to shoes; a pair tells
    "without lace" from "lace". Each id once, in this order. Nulls: an empty list for null.
    Raises: ValueError for a limit below 1.
    """
    if most_words < 1 or most_parts < 1:
        raise ValueError(f"token_ids: most_words is {most_words} and most_parts is {most_parts}, both must be at least 1")
    kept = F.slice(found, 1, most_words)
    pairs = F.array_compact(F.zip_with(kept, F.slice(kept, 2, most_words), lambda word, after: F.concat(word, F.lit(" "), after)))
    parts = F.slice(F.flatten(F.transform(kept, _parts)), 1, most_parts)
    texts = F.concat(kept, pairs, F.transform(parts, lambda part: F.concat(F.lit("part "), part)))
    return F.coalesce(F.array_distinct(F.transform(texts, lambda text: hashed(text, size))), F.array().cast("array<int>"))


def _parts(word: Column) -> Column:
    marked = F.concat(F.lit("^"), word, F.lit("$"))
    return F.transform(F.sequence(F.lit(1), F.length(word)), lambda start: F.substr(marked, start, F.lit(3)))
