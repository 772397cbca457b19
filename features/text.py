"""Text of queries and titles: one normal form, and its words. Native Spark, so that every script costs the same."""

from pyspark.sql import Column
from pyspark.sql import functions as F

FULL_WIDTH = "".join(chr(code) for code in range(0xFF01, 0xFF5F)) + "\u3000"
HALF_WIDTH = "".join(chr(code) for code in range(0x21, 0x7F)) + " "
UNSPACED = r"\p{IsHan}\p{IsHiragana}\p{IsKatakana}"
WORD = rf"[{UNSPACED}]|[\p{{L}}\p{{M}}\p{{N}}&&[^{UNSPACED}]]+"
"""A run of letters and digits; each character by itself in scripts that put no spaces between words."""


def norm_query(text: Column) -> Column:
    """The text in lower case, full-width characters as usual ones, with single spaces and none at the ends.

    Nulls: null for null, and where nothing but spaces and control characters is left.
    """
    plain = F.lower(F.translate(text, FULL_WIDTH, HALF_WIDTH))
    spaced = F.trim(F.regexp_replace(plain, r"[\s\p{Z}\p{Cc}\p{Cf}]+", " "))
    return F.when(spaced != "", spaced)


def words(text: Column) -> Column:
    """The different words of the normalised text, in order; the whole text where it has no letter or digit.

    Nulls: null for a text that `norm_query` leaves empty.
    """
    return F.array_distinct(bag(text))


def bag(text: Column) -> Column:
    """The words of the normalised text in order, repeated ones too; the whole text where it has no letter or digit.

    Nulls: null for a text that `norm_query` leaves empty.
    """
    normal = norm_query(text)
    found = F.regexp_extract_all(normal, F.lit(WORD), F.lit(0))
    return F.when(F.size(found) > 0, found).when(normal.isNotNull(), F.array(normal))
