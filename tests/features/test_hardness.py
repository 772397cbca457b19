import pytest
from pyspark.sql import functions as F

from features.hardness import TYPES, content_words, hardness, hardness_by_cue, negated_words, with_carried
from jobs.session import suited_to

QUERIES = {  # query: type by cue, negated words, content words
    "what to wear on ice": ("question", [], ["wear", "ice"]),
    "how do i keep tea hot": ("question", [], ["keep", "tea", "hot"]),
    "boots for snow?": ("question", [], ["boots", "snow"]),
    "怎么洗白鞋": ("question", [], list("怎么洗白鞋")),
    "cheaper than kavepa desk": ("alternative", ["kavepa"], ["desk"]),
    "alternatives to a kettle": ("alternative", [], ["kettle"]),
    "bag like hopata": ("alternative", ["hopata"], ["bag"]),
    "no sugar": ("negation", [], ["sugar"]),  # what else should be looked for?
    "phone like new": (None, [], ["phone", "new"]),
    "like a rolling stone": (None, [], ["rolling", "stone"]),
    "lamp without a cord or plug": ("negation", ["cord", "plug"], ["lamp"]),
    "sugar-free tea, no milk": ("negation", ["milk", "sugar"], ["tea"]),
    "non slip mat not made of rubber": ("negation", ["slip", "rubber"], ["mat"]),
    "tea free of caffeine": ("negation", ["caffeine"], ["tea"]),
    "hands free lamp": (None, [], ["hands", "lamp"]),
    "perfume no 5": (None, [], ["perfume", "5"]),
    "what lamp without cord": ("question", ["cord"], ["lamp"]),
    "Nothing  SHOES": (None, [], ["nothing", "shoes"]),
    "the who": (None, [], ["the", "who"]),
    "🙂🙃": (None, [], ["🙂🙃"]),
    "": (None, [], None),
    None: (None, [], None),
}


def test_cues_negated_words_and_content_words(spark):
    query = F.col("query")
    frame = spark.createDataFrame([(q,) for q in QUERIES], "query string")
    columns = hardness_by_cue(query).alias("cue"), negated_words(query).alias("negated"), content_words(query).alias("content")
    with suited_to(spark, 0):  # interpreted: to compile these patterns takes ten seconds
        found = {row.query: (row.cue, sorted(row.negated), row.content) for row in frame.select(query, *columns).collect()}
    assert len(found) == len(QUERIES)
    assert found == {q: (cue, sorted(negated), content) for q, (cue, negated, content) in QUERIES.items()}


def test_a_cue_comes_first_then_whether_a_title_carries_the_query(spark):
    cases = [("what lamp", False, "question"), ("lamp", True, "plain"), ("lamp", False, "knowledge"), (None, False, None)]
    frame = spark.createDataFrame(cases, "query string, is_carried boolean, expected string")
    found = [tuple(row) for row in frame.select(hardness(F.col("query"), F.col("is_carried")), "expected").collect()]
    assert len(found) == 4 and all(a == b for a, b in found)
    assert {a for a, _ in found if a} < set(TYPES)


@pytest.fixture(scope="module")
def titles(spark):
    rows = [("1", "Red wool scarf"), ("2", "Blue cotton scarf"), ("3", "Red kettle"), ("4", None), ("5", " "), ("6", "Red red lamp")]
    return spark.createDataFrame(rows, "item_id string, title string")


def test_a_query_is_carried_when_one_title_has_all_its_content_words(spark, titles):
    expected = {
        "scarf in red": True,  # the function word does not count
        "cotton scarf": True,
        "red cotton scarf": False,  # each word is in a title, all of them in none
        "red shawl": False,
        "kettle without lid": True,  # what is excluded need not be there
        "🙂": False,
    }
    queries = spark.createDataFrame([(q,) for q in expected], "query_norm string")
    with suited_to(spark, 0):
        found = {row.query_norm: row.is_carried for row in with_carried(queries, titles).collect()}
        assert with_carried(queries, titles.where("false")).where("is_carried").count() == 0
    assert found == expected
