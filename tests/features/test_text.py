from pyspark.sql import functions as F

from features.text import bag, norm_query, words

NORMAL = {
    "  Red   SHOES ": "red shoes",
    "red\tshoes\n": "red shoes",
    "ＲＥＤ　ｓｈｏｅｓ！": "red shoes!",  # full width
    "ÉTÉ Straße": "été straße",
    "紅い 靴": "紅い 靴",
    "a\u00a0b\u200bc": "a b c",  # no-break space, zero-width space
    "\x00x\x07": "x",
    "👟 Shoe": "👟 shoe",
    "": None,
    " \t\u3000 ": None,
    None: None,
}
WORDS = {
    "Nike Air-Max 90, 90 EU": ["nike", "air", "max", "90", "eu"],
    "wi-fi/5G": ["wi", "fi", "5g"],
    "红色 运动鞋 Nike鞋": ["红", "色", "运", "动", "鞋", "nike"],
    "ランニング shoes": ["ラ", "ン", "ニ", "グ", "shoes"],
    "साड़ी लाल": ["साड़ी", "लाल"],  # vowel signs stay in their word
    "👟": ["👟"],
    "!!! ?": ["!!! ?"],
    " ": None,
    None: None,
}


def results(spark, texts, function):
    frame = spark.createDataFrame([(t,) for t in texts], "text string")
    return {row.text: row.result for row in frame.select("text", function(F.col("text")).alias("result")).collect()}


def test_texts_have_one_normal_form(spark):
    assert results(spark, NORMAL, norm_query) == NORMAL


def test_normalising_again_changes_nothing(spark):
    normal = [n for n in NORMAL.values() if n]
    assert results(spark, normal, norm_query) == {n: n for n in normal}


def test_words_of_every_script(spark):
    assert results(spark, WORDS, words) == WORDS


def test_a_bag_holds_repeated_words_too(spark):
    texts = {"Red, red shoe": ["red", "red", "shoe"], "!!! ?": ["!!! ?"], " ": None, None: None}
    assert results(spark, texts, bag) == texts
