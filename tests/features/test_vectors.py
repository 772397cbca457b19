import hashlib
import math
import sys
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import functions as F

from features import vectors
from features.vectors import WIDTH, hashed_tfidf, nearest, with_cosine

TEXTS = {
    "a": "Red running shoe",
    "b": "red Running shoes, men",
    "c": "kitchen knife",
    "d": "红色 运动鞋",
    "e": "红色 跑步鞋",
    "f": "👟",
    "g": "crème brûlée torch",
    "h": "shoe red running",  # the words of a in another order
    "i": "knife " * 3000,
    "j": " ",
    "k": None,
}


def frame_of(spark, texts):
    return spark.createDataFrame([("item", key, text) for key, text in texts.items()], "kind string, text_id string, text string")


def encoded(texts):
    return {row.text_id: row.vector for row in hashed_tfidf(texts, ("kind", "text_id")).collect()}


def by_hand(bags):
    """The formula in plain Python: whole numbers of any size, words one after the other."""
    num_with = Counter(word for bag in bags.values() for word in bag)
    found = {}
    for key, bag in bags.items():
        total = [0] * WIDTH
        for word in bag:
            rarity = round(100 * (math.log((1 + len(TEXTS)) / (1 + num_with[word])) + 1))
            parts = [f"^{word}$"[n : n + 3] for n in range(len(word))]
            for weight, name in [(12, word)] + [(12 // math.isqrt(len(parts)), f"part {part}") for part in parts]:
                bits = "".join(f"{byte:08b}" for byte in hashlib.blake2b(name.encode(), digest_size=32).digest())
                total = [t + rarity * weight * (1 if bit == "1" else -1) for t, bit in zip(total, bits, strict=True)]
        norm = math.sqrt(sum(t * t for t in total))
        found[key] = [round(127 * t / norm) for t in total]
    return found


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def test_vectors_follow_the_formula(spark):
    bags = {"a": ["red", "running", "shoe"], "b": ["red", "running", "shoes", "men"], "c": ["kitchen", "knife"], "i": ["knife"]}
    bags |= {"d": ["红", "色", "运", "动", "鞋"], "e": ["红", "色", "跑", "步", "鞋"], "f": ["👟"], "h": ["shoe", "red", "running"]}
    bags |= {"g": ["crème", "brûlée", "torch"]}
    found = encoded(frame_of(spark, TEXTS))
    assert found == by_hand(bags) | {"j": None, "k": None}


def test_words_are_counted_among_the_texts_that_are_said_to_count(spark):
    texts = frame_of(spark, TEXTS).withColumn("is_title", F.lit(True))
    asked = frame_of(spark, {"q": "knife knife red", "r": "red running shoe zzzqqq"}).withColumn("is_title", F.lit(False))
    both = hashed_tfidf(texts.unionByName(asked), ("kind", "text_id"), counted="is_title")
    found = {row.text_id: row.vector for row in both.collect()}
    assert {key: found[key] for key in TEXTS} == encoded(frame_of(spark, TEXTS)) and found["q"]
    assert cosine(found["r"], found["a"]) > 0.9, "a word that no title has weighs little"


def test_vectors_do_not_depend_on_partitions_or_batches(spark):
    texts = {f"t{n}": " ".join(f"word{n * k % 37}" for k in range(1, 2 + n % 9)) for n in range(300)}
    one = encoded(frame_of(spark, texts).coalesce(1))
    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", "7")
    spark.conf.set("spark.sql.shuffle.partitions", "5")
    try:
        assert encoded(frame_of(spark, dict(reversed(texts.items()))).repartition(11)) == one
    finally:
        spark.conf.set("spark.sql.shuffle.partitions", "1")
        spark.conf.unset("spark.sql.execution.arrow.maxRecordsPerBatch")
    assert len(one) == 300 and {len(v) for v in one.values()} == {WIDTH}


def test_texts_with_common_words_are_near_and_others_are_not(spark):
    found = encoded(frame_of(spark, TEXTS))
    assert found["a"] == found["h"]
    assert min(cosine(found["a"], found["b"]), cosine(found["d"], found["e"])) > 0.5  # 2 words and a part; 3 of 5 characters
    chance = 1 / math.sqrt(WIDTH)  # standard deviation of the cosine of two random sign vectors
    assert abs(cosine(found["a"], found["c"])) < 4 * chance
    assert abs(cosine(found["a"], found["d"])) < 4 * chance


def test_squares_of_long_texts_do_not_overflow():
    one = np.array([[3, -4] + [0] * (WIDTH - 2)], dtype=np.int64)
    assert vectors._unit(one)[0, :2].tolist() == [76, -102]  # 127 * 0.6, 127 * -0.8
    assert vectors._unit(one << 50)[0, :2].tolist() == [76, -102]
    assert not vectors._unit(one * 0).any()


SCHEMA = "id string, vector array<tinyint>"


def random_rows(rng, num, width=8, prefix="r"):
    return [(f"{prefix}{n:04d}", [int(x) for x in rng.integers(-3, 4, width)]) for n in range(num)]


def side(spark, rows, name):
    return spark.createDataFrame(rows, SCHEMA).withColumnRenamed("id", name)


def nearest_by_hand(left, right):
    found = {}
    for key, vector in left:
        score, best = min((-sum(a * b for a, b in zip(vector, other, strict=True)), name) for name, other in right)
        other = dict(right)[best]
        norms = sum(a * a for a in vector) * sum(b * b for b in other)
        found[key] = (best, -score / math.sqrt(max(norms, 1)))
    return found


@pytest.mark.parametrize("blocks", [1, 3])
def test_nearest_is_the_brute_force_answer_with_ties_by_id(spark, blocks):
    rng = np.random.default_rng(5)
    left, right = random_rows(rng, 120, prefix="l"), random_rows(rng, 400)  # numbers in -3..3: nearly all have ties
    right += [(f"same{n}", right[7][1]) for n in range(40)]
    expected = nearest_by_hand(left, right)
    ties = sum(Counter(sum(a * b for a, b in zip(v, w, strict=True)) for _, w in right).most_common()[0][1] > 1 for _, v in left)
    assert ties > 60
    rng.shuffle(right)
    found = nearest(side(spark, left, "l"), side(spark, right, "r").repartition(5), left_id="l", right_id="r", blocks=blocks)
    assert {row.l: (row.r, row.cosine) for row in found.collect()} == expected


def test_equal_scores_are_searched_to_the_last():
    known = np.array([[1, n] for n in range(-50, 50)], dtype=np.int8)  # all have the product 1 with (1, 0)
    best, place = vectors.first_best(np.array([[1, 0], [0, 1], [0, 0]], dtype=np.int8), known)
    assert (best.tolist(), place.tolist()) == ([1, 49, 0], [0, 99, 0])


def test_products_are_exact_where_float32_would_be_rounded_otherwise():
    known = np.full((3, 1000), 127, dtype=np.int8)
    known[1, 0], known[2, 1] = 126, 126
    best, place = vectors.first_best(known, known)
    assert best.tolist() == [127 * 127 * 1000] * 1 + [127 * 127 * 1000 - 127] * 2  # 16,129,000 < 2^24
    assert place.tolist() == [0, 0, 0]


def test_rows_without_a_vector_and_empty_sides_have_no_nearest(spark):
    left = side(spark, [("a", [1, 0]), ("b", None), (None, [1, 1])], "l")
    right = side(spark, [("x", [0, 1]), ("y", None)], "r")
    found = nearest(left, right, left_id="l", right_id="r", blocks=2).collect()
    assert [tuple(row) for row in found] == [("a", "x", 0.0)]
    for one, other in ((left.where("false"), right), (left, right.where("vector is null"))):
        empty = nearest(one, other, left_id="l", right_id="r", blocks=1)
        assert empty.columns == ["l", "r", "cosine"] and empty.collect() == []


def test_vectors_of_two_encoders_are_refused(spark):
    with pytest.raises(ValueError, match="vectors of 2 and of 3 numbers in one column"):
        vectors.matrix(pa.array([[1, 2], [1, 2, 3]], pa.list_(pa.int8())))
    with pytest.raises(Exception, match="nearest: vectors of 2 and of 3 numbers; encode both sides with one encoder"):
        nearest(side(spark, [("a", [1, 0])], "l"), side(spark, [("x", [1, 0, 0])], "r"), left_id="l", right_id="r", blocks=1).collect()
    with pytest.raises(ValueError, match="both sides call their id 'l'"):
        nearest(side(spark, [], "l"), side(spark, [], "l"), left_id="l", right_id="l")


def test_cosine_of_pairs_is_that_of_whole_numbers(spark):
    pairs = [(1, [3, 4], [4, 3]), (2, [127, -128], [-128, 127]), (3, None, [1, 2]), (4, [0, 0], [1, 2]), (5, [1, 2], None)]
    frame = spark.createDataFrame(pairs, "id int, a array<tinyint>, b array<tinyint>").select("a", F.col("id").alias("n"), "b")
    found = {row.n: row.cosine for row in with_cosine(frame, "a", "b").collect()}
    assert found == {1: 24 / 25, 2: -2 * 127 * 128 / (127**2 + 128**2), 3: 0.0, 4: 0.0, 5: 0.0}


def test_a_model_encodes_to_rounded_unit_vectors(monkeypatch, tmp_path):
    asked = []

    class Model:
        def __init__(self, folder):
            asked.append(folder)

        def encode(self, texts, normalize_embeddings, convert_to_numpy):
            assert normalize_embeddings and convert_to_numpy
            return np.array([[0.6, -0.8, 0.0] if text == "red" else [1.0, 0.0, 0.0] for text in texts], dtype=np.float32)

    monkeypatch.setitem(sys.modules, "sentence_transformers", SimpleNamespace(SentenceTransformer=Model))
    folder = str(tmp_path / "mini")
    for _ in range(2):
        rows, names = vectors._encode(pa.RecordBatch.from_pydict({"text": pa.array(["red", None, "blue"])}), folder)
    assert rows.to_pylist() == [[76, -102, 0], None, [127, 0, 0]]
    assert names.to_pylist() == ["mini-3"] * 3
    assert asked == [folder]  # loaded once


def test_a_model_without_its_library_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(ImportError, match="pip install sentence-transformers"):
        vectors._model(str(tmp_path / "absent"))
