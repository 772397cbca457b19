import pytest
from pyspark.sql import functions as F

from features.text import words
from features.tokens import token_ids

SIZE = 1 << 17


@pytest.fixture(scope="module")
def ids(spark):
    texts = ["red shoe", "Shoe RED", "shoes", "without lace", "lace", "跑鞋", "!!", None, "a b c d e"]
    frame = spark.createDataFrame([(text,) for text in texts], "text string")
    made = frame.select("text", token_ids(words(F.col("text")), SIZE, most_words=4, most_parts=5).alias("ids"))
    return {row.text: row.ids for row in made.collect()}


def test_a_text_has_its_words_its_pairs_and_its_parts(ids):
    assert len(ids["red shoe"]) == 2 + 1 + 5  # ^re red ed$ ^sh sho, and no more
    assert len(set(ids["red shoe"]) & set(ids["Shoe RED"])) >= 2  # the words; not the pair
    assert ids["red shoe"][2] not in ids["Shoe RED"]
    assert len(set(ids["shoes"]) & set(ids["Shoe RED"])) == 3  # ^sh sho hoe
    assert set(ids["lace"]) - set(ids["without lace"])  # its later parts are cut there
    assert ids["lace"][0] in ids["without lace"]
    assert len(ids["跑鞋"]) == 2 + 1 + 2


def test_a_short_part_is_not_the_word_of_the_same_letters(ids):
    assert len(ids["a b c d e"]) == 4 + 3 + 4  # four words, ^a$ and so on


def test_ids_lie_in_range_each_once_and_nothing_has_none(ids):
    assert ids[None] == []
    assert len(ids["!!"]) == 1 + 2  # a text without letters is one word; ^!! !!$
    for found in ids.values():
        assert len(found) == len(set(found)) and all(0 < each < SIZE for each in found)


def test_limits_below_one_are_refused():
    with pytest.raises(ValueError, match="most_words is 0"):
        token_ids(F.col("x"), SIZE, most_words=0, most_parts=1)
