"""Which queries are kept for evaluation: a property of their words alone, so that every table agrees without reading another."""

from pyspark.sql import Column
from pyspark.sql import functions as F

from features.text import words

PARTS = 1_000_000


def is_evaluation(query: Column, share: float = 0.2, seed: int = 17) -> Column:
    """The query belongs to the seeded `share` of all sets of words on which nothing is learnt and everything is measured.

    Order, repetition, case and punctuation of words do not matter, so that no reordered twin falls on the other side.
    Nulls: false for null, and for a text that `norm_query` leaves empty.
    Raises: ValueError when share is not in [0, 1].
    """
    if not 0 <= share <= 1:
        raise ValueError(f"is_evaluation: share is {share}, must be between 0 and 1")
    key = F.xxhash64(F.lit(seed), F.lit("evaluation"), F.array_sort(words(query)))
    return words(query).isNotNull() & (F.pmod(key, F.lit(PARTS)) < round(share * PARTS))
