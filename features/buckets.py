"""Values of any kind as small integers: 0 is missing, whole-number arithmetic alone, so that every machine gives the same."""

from pyspark.sql import Column
from pyspark.sql import functions as F


def hashed(value: Column, size: int) -> Column:
    """A hash of the value in [1, size); 0 for null."""
    return F.nvl2(value, F.pmod(F.xxhash64(value), F.lit(size - 1)) + 1, F.lit(0)).cast("int")


def place_in(names: tuple[str, ...], value: Column) -> Column:
    """Place of the value among the names, from 1; 0 for null and for none of them."""
    return F.coalesce(F.array_position(F.array(*(F.lit(name) for name in names)), value), F.lit(0)).cast("int")


def octave(number: Column, size: int, parts: int = 1) -> Column:
    """Step of a number on a scale of octaves (doublings) cut into equal parts: 0 null, 1 less than 1, 2 from 1 on, at most size - 1.

    parts: a power of two. With one part 2 is 1, 3 is 2 and 3, 4 is 4 to 7. Fractions are cut off; numbers go up to 2**60 / parts.
    """
    scaled = F.floor(number) * parts
    place = F.length(F.bin(scaled)) - parts.bit_length()  # of the highest bit, before scaling
    step = 2 + place * parts + F.call_function("shiftright", scaled, place) - parts
    return F.when(number < 1, 1).when(number.isNotNull(), F.least(step, F.lit(size - 1))).otherwise(0).cast("int")


def tenths(part: Column, whole: Column) -> Column:
    """1 + the tenths of `whole` that `part` makes up, in [1, 11]; 0 where either is null or there is no whole."""
    share = 1 + F.floor(part * 10 / F.greatest(whole, F.lit(1)))
    return F.when((whole > 0) & part.isNotNull(), share).otherwise(0).cast("int")
