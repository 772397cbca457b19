import csv
import io
import zipfile
from datetime import date

import pytest
from pyspark.sql import functions as F

from features.splits import is_evaluation
from jobs.sources import SourceError, home_depot
from tests.jobs.sources.collecting import by_fate, collected

START = {"start_day": "2026-01-05"}
DAY = date(2026, 1, 5)
NAMES = '"id","product_uid","product_title","search_term","relevance"'


def write(root, *lines, name="train.csv", header=NAMES):
    root.mkdir(parents=True, exist_ok=True)
    body = b"".join(line if isinstance(line, bytes) else f"{line}\n".encode("latin-1") for line in (header, *lines))
    if name.endswith(".zip"):
        with zipfile.ZipFile(root / name, "w", zipfile.ZIP_DEFLATED) as packed:
            packed.writestr("train.csv", body)
    else:
        (root / name).write_bytes(body)
    return root


@pytest.mark.slow
def test_the_real_file_gives_what_pythons_csv_reads(spark, shared_data):
    folder = shared_data / "home_depot_relevance"
    with zipfile.ZipFile(folder / "train.csv.zip") as packed:
        graded = list(csv.DictReader(io.StringIO(packed.read("train.csv").decode("latin-1"), newline="")))
    raw = home_depot.read(spark, str(folder), None, **START)
    assert len(graded) == 74_067 and {raw[table].lines for table in raw} == {len(graded)}
    first = {(" ".join(r["search_term"].lower().split()), r["product_uid"]): float(r["relevance"]) for r in reversed(graded)}
    expected = is_evaluation(F.col("query_raw")).alias("expected")
    told = raw["judgements"].frame.select("query_norm", "item_id", "grade", "relevance", "is_evaluation", expected, "_fate").toPandas()
    rows = told[told["_fate"] == "kept"]
    assert dict(zip(zip(rows["query_norm"], rows["item_id"], strict=True), rows["grade"], strict=True)) == first
    assert dict(told["_fate"].value_counts()) == {"kept": len(first), "duplicate": len(graded) - len(first)}
    assert (rows["relevance"] - (rows["grade"] - 1) / 2).abs().max() < 1e-12 and rows["relevance"].min() == 0
    split = rows.groupby("query_norm")[["is_evaluation", "expected"]].agg(["min", "max"])
    assert (split.nunique(axis=1) == 1).all() and 0.18 < split[("is_evaluation", "min")].mean() < 0.22
    titles = {r["product_uid"]: r["product_title"] for r in reversed(graded)}
    items = raw["items"].frame.agg(F.count("item_id"), F.countDistinct("item_id"), F.sum(F.length("title")))
    assert tuple(items.first()) == (len(titles), len(titles), sum(map(len, titles.values()))) and len(titles) == 54_667


LINES = (
    '2,100001,"Simpson 12-Gauge Angle","angle bracket",3',
    '3,100001,"Simpson Angle, other title","L  Bracket",2.5',
    '9,100002,"BEHR 1-gal. ""Tugboat"" 360\xb0","l bracket",1',
)


def test_a_line_is_a_judgement_and_nobody_is_said_to_have_searched(spark, tmp_path):
    raw = home_depot.read(spark, str(write(tmp_path, *LINES, name="train.csv.zip")), None, **START)
    assert set(raw) == {"items", "judgements"}
    rows = collected(spark, raw)
    judged = sorted(rows["judgements"], key=lambda r: r["_line"])
    told = ("query_norm", "query_raw", "item_id", "grade", "relevance", "judged_by", "_line")
    assert [tuple(r[name] for name in told) for r in judged] == [
        ("angle bracket", "angle bracket", "100001", 3.0, 1.0, "home_depot", "train.csv.zip:2"),
        ("l bracket", "L  Bracket", "100001", 2.5, 0.75, "home_depot", "train.csv.zip:3"),
        ("l bracket", "l bracket", "100002", 1.0, 0.0, "home_depot", "train.csv.zip:4"),
    ]
    assert {(r["day"], r["available_at"].isoformat()) for r in judged} == {(DAY, "2026-01-05T00:00:00")}
    assert sorted((r["item_id"], r["title"], r["status"], r["_num_lines"]) for r in rows["items"]) == [
        ("100001", "Simpson 12-Gauge Angle", "on_shelf", 2),
        ("100002", 'BEHR 1-gal. "Tugboat" 360\xb0', "on_shelf", 1),
    ]


def test_bad_lines_are_told_and_counted(spark, tmp_path):
    bad = (
        "4,100003,only four fields,1",
        '5,100003,"A title"," ",2',
        '6, ,"A title","a term",2',
        '7,100003,"A title","a term",high',
        '8,100003,"A title","a term",3.5',
        '9,100003,"A title","a term",',
        '10,100002,"BEHR"," L bracket",2',
        "",
        '11,100004,"a quote is opened, "x",2',
    )
    raw = home_depot.read(spark, str(write(tmp_path, *LINES, *bad)), None, **START)
    rows = collected(spark, raw)
    assert by_fate(rows) == {
        "judgements": {"kept": 3, "duplicate": 1, "quarantined": 7},
        "items": {"kept": 3, "duplicate": 1, "broken_line": 7},
    }
    told = [r for r in rows["judgements"] if r["_fate"] == "quarantined"]
    assert {(r["_line"], r["_rule"], r["_reason"]) for r in told} == {
        ("train.csv:5", "broken_line", "4 fields, the first line names 5"),
        ("train.csv:6", "no_search_term", "there is no search_term"),
        ("train.csv:7", "no_product", "there is no product_uid"),
        ("train.csv:8", "unreadable_relevance", "relevance is high, must be 1 to 3"),
        ("train.csv:9", "unreadable_relevance", "relevance is 3.5, must be 1 to 3"),
        ("train.csv:10", "unreadable_relevance", "relevance is missing, must be 1 to 3"),
        ("train.csv:13", "broken_line", "4 fields, the first line names 5"),
    }
    assert {r["_raw"] for r in told if r["_line"] == "train.csv:8"} == {'7,100003,"A title","a term",high'}


def test_input_that_cannot_be_read_is_told(spark, tmp_path):
    good = str(write(tmp_path / "good", *LINES))
    for wrong, told in (({}, "2026-01-01$"), ({"start_day": "January"}, "2026-01-01, not 'January'$")):
        with pytest.raises(SourceError, match=f"has no days of its own: give --start-day a day for all its rows, as {told}"):
            home_depot.read(spark, good, None, **wrong)
    with pytest.raises(SourceError, match=r"lays all rows on start_day, 2026-01-05, not on 2026-01-05\.\.2026-01-06; leave out --days"):
        home_depot.read(spark, good, (DAY, date(2026, 1, 6)), **START)
    with pytest.raises(SourceError, match="name it with --from"):
        home_depot.read(spark, None, None, **START)
    with pytest.raises(SourceError, match=r"no train\.csv and no train\.csv\.zip there; give the folder that holds one, or the file"):
        home_depot.read(spark, str(tmp_path / "absent"), None, **START)
    write(tmp_path / "good", *LINES, name="train.csv.zip")
    with pytest.raises(SourceError, match=r"holds both train\.csv and train\.csv\.zip; take one away"):
        home_depot.read(spark, good, None, **START)
    assert home_depot.read(spark, f"{good}/train.csv", (DAY, DAY), **START)["items"].lines == 3  # a file can be named itself
    with pytest.raises(SourceError, match="lacks column search_term, relevance; its first line names id, product_uid, product_t"):
        home_depot.read(spark, str(write(tmp_path / "other", header="id,product_uid,product_title,query")), None, **START)
    with pytest.raises(SourceError, match="there is no line below the names"):
        home_depot.read(spark, str(write(tmp_path / "empty")), None, **START)
    with pytest.raises(SourceError, match=r"lacks column id, .*names nothing"):
        home_depot.read(spark, str(write(tmp_path / "blank", header="")), None, **START)


def test_a_zip_that_is_torn_or_holds_more_is_told(spark, tmp_path):
    whole = (write(tmp_path / "whole", *LINES * 2000, name="train.csv.zip") / "train.csv.zip").read_bytes()

    def told(name, content):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "train.csv.zip").write_bytes(content)
        with pytest.raises(SourceError) as failed:
            home_depot.read(spark, str(folder), None, **START)
        return str(failed.value)

    assert "no whole zip file (File is not a zip file); fetch it again" in told("torn", whole[: len(whole) // 2])
    spoilt = bytearray(whole)
    spoilt[len(whole) // 3 : len(whole) // 3 + 40] = b"\0" * 40
    assert "train.csv.zip" in (message := told("spoilt", bytes(spoilt))) and ("CRC-32" in message or "decompressing" in message)
    many = io.BytesIO()
    with zipfile.ZipFile(many, "w") as packed:
        packed.writestr("train.csv", NAMES)
        packed.writestr("test.csv", NAMES)
        packed.writestr("__MACOSX/train.csv", "")
    assert "it holds 2 files (train.csv, test.csv), must hold one" in told("many", many.getvalue())
