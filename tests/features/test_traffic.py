from features.traffic import Params, with_standing


def test_standing_is_by_queries_and_searches_that_are_searched_more(spark):
    searches = {"a": 40, "b": 30, "c": 10, **{f"d{n}": 2 for n in range(7)}, **{f"e{n}": 1 for n in range(6)}}  # 16 queries, 100 searches
    frame = spark.createDataFrame(list(searches.items()), "query_norm string, num_searches_28d bigint")
    rows = with_standing(frame, Params()).collect()
    found = {row.query_norm[0]: (row.decile, row.segment) for row in rows}
    assert len(rows) == len(searches)
    assert found == {
        "a": (1, "head"),  # nothing before it
        "b": (1, "head"),  # 1 of 16 queries, 40 of 100 searches before it
        "c": (2, "torso"),  # 2 of 16, 70
        "d": (2, "tail"),  # 3 of 16, 80: no more below 80
        "e": (7, "tail"),  # 10 of 16
    }
    assert with_standing(frame.where("false"), Params()).count() == 0
