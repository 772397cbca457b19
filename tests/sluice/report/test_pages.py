"""Pages as files: every link leads somewhere, values stay text, numbers are the receipts', nothing is fetched."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from sluice.report import flow, pages, pictures, results
from sluice.report.facts import gather
from tests.sluice.report.planted import DAYS, HOSTILE, ITEMS, put, quarantine, refuse, result

VOID = {"meta", "link", "input", "br", "img"}


class Page(HTMLParser):
    """Links, ids, elements and visible text of a page; complains of what is not closed."""

    def __init__(self, file: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.file, self.links, self.ids, self.elements, self.open = file, [], set(), [], []
        self.texts: list[str] = []
        self.feed(file.read_text(encoding="utf-8"))
        assert not self.open, f"{file.name} does not close {self.open}"

    def handle_starttag(self, tag, attrs):
        facts = dict(attrs)
        self.elements.append((tag, facts))
        self.links += [facts[k] for k in ("href", "src") if facts.get(k)]
        self.ids |= {facts["id"]} if "id" in facts else set()
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"{self.file.name}: </{tag}> closes nothing at {self.getpos()}"

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.texts.append(data)


def site_of(lake, out, **options):
    facts = gather(str(lake), **options)
    pages.write(facts, out)
    return facts, {str(f.relative_to(out)): Page(f) for f in sorted(out.rglob("*.html"))}


@pytest.fixture(scope="module")
def site(whole, tmp_path_factory):
    """Pages of a lake in which nothing is red, and their facts."""
    out = tmp_path_factory.mktemp("pages") / "site"
    return out, *site_of(whole, out)


def test_every_link_leads_to_a_page_and_a_place_of_this_folder(site):
    out, _, found = site
    assert len(found) > 50
    links = [(name, link) for name, page in found.items() for link in page.links]
    assert len(links) > 500
    for name, link in links:
        parts = urlsplit(link)
        assert not parts.scheme and not parts.netloc, f"{name} fetches {link}"
        target = (out / name).parent / unquote(parts.path) if parts.path else out / name
        assert target.resolve().is_file(), f"{name} links to {link}, which is not there"
        if parts.fragment:
            assert parts.fragment in found[str(target.resolve().relative_to(out.resolve()))].ids, f"{name} links to {link}: no such place"


def test_every_id_is_there_once_and_every_page_has_its_landmarks(site):
    _, _, found = site
    for name, page in found.items():
        ids = [facts["id"] for _, facts in page.elements if "id" in facts]
        assert len(ids) == len(set(ids)), name
        tags = [tag for tag, _ in page.elements]
        assert [tags.count(t) for t in ("main", "h1", "footer")] == [1, 1, 1], name
        assert all(facts.get("aria-label") for tag, facts in page.elements if tag == "svg"), name
        labelled = {facts["aria-labelledby"] for _, facts in page.elements if "aria-labelledby" in facts}
        assert labelled <= set(ids), name


def test_the_overview_adds_up_the_receipts(site):
    _, facts, found = site
    receipts = [f["receipt"] for t in facts["tables"] for f in t["days"] if f["receipt"]]
    texts = found["index.html"].texts
    figures = {facts["id"]: texts for tag, facts in found["index.html"].elements if tag == "dd" and "id" in facts}
    assert set(figures) == {"table-days", "rows", "results", "failed", "quarantined"}
    html = found["index.html"].file.read_text()
    shown = {name: re.search(rf'<dd id="{name}">([\d,]+)</dd>', html)[1] for name in figures}
    assert shown["table-days"] == str(len(receipts)) == "42" and shown["rows"] == f"{sum(r['rows'] for r in receipts):,}"
    assert shown["results"] == str(sum(len(r["results"]) for r in receipts))


def test_the_flow_shows_each_fate_of_the_newest_whole_day(site):
    _, facts, found = site
    drawn = [f for tag, f in found["index.html"].elements if tag == "g" and "data-fate" in f]
    day = flow.books_day(facts["tables"])
    assert day == str(DAYS[-1])
    receipts = [f["receipt"] for t in facts["tables"] for f in t["days"] if f["day"] == day and f["receipt"]]
    fates = [(a["account"], fate, str(n)) for r in receipts for a in r["accounts"] for fate, n in a["fates"].items() if n]
    assert sorted((f["data-account"], f["data-fate"], f["data-rows"]) for f in drawn) == sorted(fates) and len(fates) > 10


def test_a_day_has_its_receipt_whole(site):
    _, facts, found = site
    space = next(t for t in facts["tables"] if t["table"] == "entire_space")
    for fact in space["days"]:
        page = found[f"entire_space/{fact['day']}.html"]
        committed = next(t for t in page.texts if t.startswith('{\n "table"'))
        assert json.loads(committed) == fact["receipt"]


def test_a_table_says_what_its_days_cost_and_which_stands_out(tmp_path):
    for number, day in enumerate(DAYS):
        steps = {"stage": {"wall_s": 2.0, "core_s": 90.0 if number == 4 else 3.0 + number, "spill_bytes": 0}}
        put(tmp_path / "lake", ITEMS, day, steps=steps)
    page = site_of(tmp_path / "lake", tmp_path / "site")[1]["items/index.html"]
    text = " ".join(" ".join(page.texts).split())
    assert all(words in text for words in ("core seconds 8 ", "wall seconds 2 ", "core µs per row 2M ")), "those of the last day"
    assert "bytes spilled" not in text, "nothing was"
    assert f"{DAYS[4]} stands out: 18 times the usual cost; each row cost 18.0 times as much" in text


def test_hostile_values_stay_text(tmp_path):
    bad = result(
        HOSTILE, HOSTILE, success=False, severity="warning", note=HOSTILE, observed_value=HOSTILE, partial_unexpected_list=[HOSTILE]
    )
    version = quarantine(tmp_path / "lake", ITEMS, DAYS[0], [{"rule": HOSTILE, "row": HOSTILE, "key": HOSTILE, "reason": HOSTILE}])
    more = {"quarantined": {HOSTILE: 1}, "quarantine_version": version, "accepted": {HOSTILE: HOSTILE}, "totals": {HOSTILE: 3}}
    put(tmp_path / "lake", ITEMS, DAYS[0], results=[bad], reasons=[HOSTILE], **more)
    refuse(tmp_path / "lake", ITEMS, DAYS[1], results=[bad], refused=HOSTILE)
    facts, found = site_of(tmp_path / "lake", tmp_path / "site", personal=True)
    assert {c["cause"] for c in facts["critical"]} == {"accepted", "refused"}
    for name, page in found.items():
        tags = {tag for tag, _ in page.elements}
        assert "img" not in tags, name
        scripts = [f for tag, f in page.elements if tag == "script"]
        assert all(f.get("src") or f.get("type") == "application/json" for f in scripts), name
        assert not any(k.startswith("on") for _, f in page.elements for k in f), name
    day = "".join(found[f"items/{DAYS[0]}.html"].texts)
    assert day.count(HOSTILE) >= 8  # name, note, seen, examples, rule, key, row, reason, why built
    raw = found["items/results.html"].file.read_text().split('<script type="application/json" id="results">')[1].split("</script>")[0]
    assert json.loads(raw)["expectations"][0][3] == HOSTILE


def test_the_paged_list_holds_all_results_shortly(tmp_path):
    many = [result("expect_column_values_to_not_be_null", f"column_{n}") for n in range(400)]
    for day in DAYS[:5]:
        put(tmp_path / "lake", ITEMS, day, results=many)
    _, found = site_of(tmp_path / "lake", tmp_path / "site")
    file = found["items/results.html"].file
    data = json.loads(file.read_text().split('id="results">')[1].split("</script>")[0])
    assert (len(data["expectations"]), len(data["rows"])) == (400, 2000)
    assert [row[0] for row in data["rows"][::400]] == [str(d) for d in reversed(DAYS[:5])]
    assert file.stat().st_size < 250_000  # an expectation's words are there once


def test_a_result_is_a_number_beside_its_limits():
    share = result(
        "expect_column_values_to_not_be_null", "c", element_count=200, unexpected_count=3, unexpected_percent=1.5, asked_mostly=0.9
    )
    assert results.measure(share) == (0.015, None, 0.1) and results.seen(share) == "3 of 200 break it"
    assert results.asked(share) == "at most 0.1 may break it"
    mean = result("expect_column_mean_to_be_between", "c", observed_value=2.5, asked_min_value=1, asked_max_value=4)
    assert results.measure(mean) == (2.5, 1, 4) and results.seen(mean) == "2.5" and results.asked(mean) == "min_value 1, max_value 4"
    error = result("expect_column_mean_to_be_between", "c") | {"result": {}, "exception_info": {"exception_message": "no such column"}}
    assert results.measure(error) == (None, None, None) and results.seen(error) == "no such column"
    assert results.short("expect_column_values_to_be_in_set(items: is_exposed)") == "values to be in set(items: is_exposed)"


def test_pictures_escape_and_say_in_words_what_they_show():
    drawn = pictures.spark([("2026-01-05", 1.0), ("2026-01-06", None), ("2026-01-07", 4.0)], HOSTILE, most=5)
    assert "<script>" not in drawn and "1 on 2026-01-05, 4 on 2026-01-07, between 1 and 4" in drawn
    assert "-" in pictures.spark([("2026-01-05", None)], "nothing")
    line = pictures.lines({"rows": [("2026-01-05", 3.0), ("2026-01-06", 3.0)]}, "Rows", {"2026-01-05": "2026-01-05.html"})
    assert line.count("<a ") == 1 and 'href="2026-01-05.html"' in line
    assert [pictures.brief(v) for v in (None, 0.01234, 7, 7.5, 12_345, 3_200_000, 2e9)] == [
        "-",
        "0.0123",
        "7",
        "7.5",
        "12.3k",
        "3.2M",
        "2G",
    ]


def test_an_input_is_drawn_in_the_column_before_its_reader():
    def table(name, *inputs):
        accounts = [{"account": f"of {i}", "input": i, "in": 4, "fates": {"kept": 3, "dropped": 1, "quarantined": 0}} for i in inputs]
        contract = {"inputs": [{"table": i, "accounts": [1]} for i in inputs]}
        return {"table": name, "contract": contract, "days": [{"day": "2026-01-05", "receipt": {"accounts": accounts}}]}

    tables = [table("raw", "files"), table("first", "raw"), table("second", "first", "raw")]
    drawn = flow.books(tables, "2026-01-05", lambda name: f"{name}.html")
    boxes = re.findall(r'<rect x="(\d+)" y="[\d.]+" width="196"[^>]* class="(box[^"]*)"></rect>(?:<a href="([a-z]+)\.html">)?', drawn)
    places = [(int(x) // flow.PITCH, kind, name) for x, kind, name in boxes]
    assert places == [(0, "box", ""), (1, "box", "raw"), (2, "box", "first"), (2, "box again", "raw"), (3, "box", "second")]
    reach = [(float(x0), float(x1)) for x0, x1 in re.findall(r'd="M([\d.]+) [^C]*C[^ ]+ [^ ]+ [^ ]+ [^ ]+ ([\d.]+) ', drawn)]
    assert len(reach) == 8 and {x1 - x0 for x0, x1 in reach} == {flow.PITCH - flow.BOX}  # no ribbon crosses a box
