"""Profiles against DuckDB, and distances against cases whose answer is known."""

import json

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest

from training.distributions import BINS, compare, merged, profile

ITEM = pa.struct({"price": pa.float64(), "name": pa.string(), "tokens": pa.list_(pa.int32())})
SCHEMA = pa.schema(
    {
        "n": pa.int64(),
        "x": pa.float64(),
        "b": pa.bool_(),
        "s": pa.string(),
        "items": pa.list_(ITEM),
        "at": pa.timestamp("us"),
        "d": pa.date32(),
    }
)


def random_rows(seed, size):
    """Rows with nulls at every depth, empty lists, NaN and infinities."""
    draw = np.random.default_rng(seed)

    def maybe(value):
        return None if draw.random() < 0.2 else value

    def an_item():
        tokens = [maybe(int(draw.integers(9))) for _ in range(draw.integers(4))]
        return maybe({"price": maybe(float(draw.normal())), "name": maybe(f"n{draw.integers(5)}"), "tokens": maybe(tokens)})

    odd = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e300]
    return [
        {
            "n": maybe(int(draw.integers(-(2**62), 2**62))),
            "x": maybe(odd[draw.integers(6)] if draw.random() < 0.1 else float(draw.normal())),
            "b": maybe(bool(draw.integers(2))),
            "s": maybe("ü" * int(draw.integers(3))),
            "items": maybe([an_item() for _ in range(draw.integers(5))]),
        }
        for _ in range(size)
    ]


def written(folder, *tables, **options):
    paths = []
    for number, table in enumerate(tables):
        paths.append(str(folder / f"{number}.parquet"))
        pq.write_table(table, paths[-1], **options)
    return paths


def profile_of(folder, *columns):
    """Profiles of tables of one column each, `v`."""
    return [profile(pafs.LocalFileSystem(), written(folder, pa.table({"v": pa.array(values)}))) for values in columns]


def test_counts_nulls_and_sums_are_those_of_duckdb(tmp_path):
    rows = [r | {"x": None if r["x"] is None or not np.isfinite(r["x"]) else r["x"]} for r in random_rows(3, 10_000)]
    paths = written(tmp_path, *(pa.Table.from_pylist(rows[i::2], schema=SCHEMA) for i in (0, 1)), row_group_size=777)
    found = profile(pafs.LocalFileSystem(), paths)
    duck = duckdb.connect()
    duck.sql(f"create view t as from read_parquet({json.dumps(paths)})")
    duck.sql("create view e as select unnest(items) as item from t")
    duck.sql("create view w as select unnest(item.tokens) as token from e")
    sources = {"n": ("n", "t"), "x": ("x", "t"), "b": ("b::int", "t"), "s": ("s", "t"), "len(items)": ("len(items)", "t")}
    sources |= {"items.price": ("item.price", "e"), "items.name": ("item.name", "e"), "items.tokens": ("token", "w")}
    sources |= {"len(items.tokens)": ("len(item.tokens)", "e")}
    assert found.keys() == sources.keys(), "times and dates are left out"
    for name, (value, table) in sources.items():
        total = "0" if found[name].kind == "string" else f"sum({value}::double)"
        expected = duck.sql(f"select count({value}), count(*) - count({value}), {total} from {table}").fetchall()[0]
        assert (found[name].count, found[name].nulls) == expected[:2], name
        assert found[name].total == pytest.approx(float(expected[2]), rel=1e-9), name
        assert sum(found[name].bins.values()) == found[name].count > 1000, name


def test_profiles_of_parts_add_up_to_the_profile_of_all(tmp_path):
    paths = written(tmp_path, *(pa.Table.from_pylist(random_rows(seed, 500), schema=SCHEMA) for seed in range(4)))
    fs = pafs.LocalFileSystem()
    whole, parts = profile(fs, paths), merged(profile(fs, paths[:1]), profile(fs, paths[1:]))
    assert whole.keys() == parts.keys()
    for name, values in whole.items():
        assert (values.count, values.nulls, values.bins) == (parts[name].count, parts[name].nulls, parts[name].bins)
    assert merged({}, whole) == merged(whole, {}) == whole


def test_a_bound_takes_the_first_rows_of_each_row_group(tmp_path):
    paths = written(tmp_path, pa.table({"v": list(range(1000))}), pa.table({"v": list(range(30))}), row_group_size=250)
    values = profile(pafs.LocalFileSystem(), paths, most=40)["v"]
    first = [start + n for start in (0, 250, 500, 750) for n in range(10)]  # 40 rows over 4 groups; the small file is within the bound
    assert (values.count, values.total) == (70, sum(first) + sum(range(30)))


def test_what_is_not_finite_counts_as_null(tmp_path):
    (found,) = profile_of(tmp_path, [1.0, float("nan"), None, float("inf"), -float("inf")])
    assert (found["v"].count, found["v"].nulls, found["v"].total, dict(found["v"].bins)) == (1, 4, 1.0, {1.0: 1})


@pytest.mark.parametrize(
    ("a", "b", "distance"),
    [
        ([1, 2, 3, 4], [4, 3, 2, 1], 0),
        ([1, 1, 1, 1], [2, 2, 2, 2], 1),
        ([63, 64], [63, 63], 0.5),  # whole numbers up to 64 have bins of their own
        ([1.0, 1.0, 2.0, 2.0], [1.0, 2.0, 2.0, 2.0], 0.25),
        ([1, 1, None, None], [1, 1, 1, None], 0.25),  # null is a value
        (["x", "x", "y"], ["x", "y", "y"], 1 / 3),
        ([True, True, False, False], [True, False, False, False], 0.25),
        ([[1], [1], [1], [1]], [[1], [1], [1, 1], None], 0.5),  # of the length: one is longer, one is null
    ],
)
def test_distance_is_the_share_of_rows_that_would_have_to_change(tmp_path, a, b, distance):
    x, y = profile_of(tmp_path, a, b)
    for found in (compare(x, y), compare(y, x)):
        assert found[0]["distance"] == pytest.approx(distance, abs=1e-6)


def test_columns_that_one_side_lacks_or_has_as_another_kind_are_not_compared(tmp_path):
    numbers, texts = profile_of(tmp_path, [1], ["1"])
    assert compare(numbers, texts) == compare(numbers, {}) == compare({}, numbers) == []


def test_lists_that_lost_their_elements(tmp_path):
    full, empty = profile_of(tmp_path, [[1], [2, 3]], pa.array([[], []], pa.list_(pa.int64())))
    of = {f["column"]: f for f in compare(full, empty)}
    assert (of["v"]["distance"], of["v"]["mean"], of["v"]["null_share"]) == (1, [2.0, None], [0.0, None])
    assert (of["len(v)"]["distance"], of["len(v)"]["mean"]) == (1, [1.5, 0.0])
    assert {f["distance"] for f in compare(empty, empty)} == {0}


def test_two_draws_from_one_source_are_as_far_apart_as_chance_says(tmp_path):
    draw = np.random.default_rng(17)
    ratios = []
    for size in (300, 3000):
        for source in (draw.normal, draw.lognormal, lambda size: draw.integers(0, 40, size), lambda size: draw.geometric(0.01, size)):
            (found,) = compare(*profile_of(tmp_path, source(size=size), source(size=2 * size)))
            ratios.append(found["distance"] / found["chance"])
    assert 0.9 < np.mean(ratios) < 1.1 and all(0.6 < r < 1.4 for r in ratios), ratios


def test_what_really_changed_comes_first_though_ids_differ_more(tmp_path):
    size, draw = 2000, np.random.default_rng(5)
    tables = [
        pa.table(
            {
                "id": [f"{side}-{n}" for n in range(size)],
                "same": draw.normal(size=size),
                "shifted": draw.normal(loc=side / 2, size=size),
                "rarer": draw.random(size) < 0.3 - side / 10,
                "lost": pa.array([None if draw.random() < 0.4 * side else 1 for _ in range(size)]),
            }
        )
        for side in (0, 1)
    ]
    profiles = [profile(pafs.LocalFileSystem(), [path]) for path in written(tmp_path, *tables)]
    found = compare(*profiles)
    assert [f["column"] for f in found[:3]] == ["lost", "shifted", "rarer"]
    of = {f["column"]: f for f in found}
    assert of["lost"]["null_share"] == [0.0, pytest.approx(0.4, abs=0.05)]
    assert of["shifted"]["distance"] == pytest.approx(0.197, abs=0.05)  # 2 * Phi(1 / 4) - 1 for normals half a deviation apart
    assert of["rarer"]["distance"] == pytest.approx(0.1, abs=0.03)
    assert all(of[name]["distance"] < 1.5 * of[name]["chance"] for name in ("id", "same"))


def test_what_is_kept_does_not_grow_with_the_rows(tmp_path):
    draw = np.random.default_rng(1)
    (few,), (many,) = (profile_of(tmp_path, [f"{n}" for n in range(size)]) for size in (5_000, 50_000))
    assert len(few["v"].bins) == len(many["v"].bins) == BINS
    (numbers,) = profile_of(tmp_path, draw.integers(-(2**62), 2**62, 200_000))
    assert len(numbers["v"].bins) < 2 * 32 * 63  # 32 for each power of two, of both signs
