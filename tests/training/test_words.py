from pyspark.sql import functions as F

from features.text import norm_query as norm_of_tables
from features.text import words as words_of_tables
from training.words import norm_query, words

TEXTS = [
    "Red  Shoes", "T-shirt (blue/red), blue", "ＬＥＤ　ｌａｍｐ！", "crème brûlée", "cre\u0301me", "紅色のスニーカー red2",
    "ひらがな テスト",
    "한국어 신발", "🙂🙃", "👟 shoe", "!!!", "", "   ", "\u200b\u00a0", "a_b", "x" * 500, "ÀÉÎ ẞ", "½ cup", "١٢٣ رقم", "İstanbul",
]  # fmt: skip


def test_words_of_a_model_are_those_of_the_tables(spark):
    given = spark.createDataFrame([(n, text) for n, text in enumerate(TEXTS)], "n int, text string")
    found = {
        r.n: r
        for r in given.select("n", norm_of_tables(F.col("text")).alias("norm"), words_of_tables(F.col("text")).alias("words")).collect()
    }
    assert {n: norm_query(text) for n, text in enumerate(TEXTS)} == {n: r.norm or "" for n, r in found.items()}
    assert {n: words(text) for n, text in enumerate(TEXTS)} == {n: r.words or [] for n, r in found.items()}
    assert words("T-shirt (blue/red), blue") == ["t", "shirt", "blue", "red"] and words("🙂🙃") == ["🙂🙃"] and words(" ") == []
