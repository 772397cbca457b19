"""What a manifest pins, what it refuses to pin, what it finds when things have changed since, and what two of them differ in."""

import json
import shutil
from dataclasses import asdict, replace
from datetime import date, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from jobs.storage import table_root
from schemas.contract import Column, ContractError
from schemas.entire_space import CONTRACT as SAMPLES
from schemas.items import CONTRACT as ITEMS
from tests.jobs.published import NOON, item, publish_day
from training.manifest import ManifestError, create, delete, diff, identity, load, load_file, names, verify

D1, D2, D3, D4 = (date(2026, 1, day) for day in (5, 6, 7, 8))
DAYS = f"{D1}..{D2}"


def request(request_id, *items, day=D1, **more):
    """A row of entire_space; its items are (item_id, y_click, y_pay)."""
    fields = {"stage": "exposed", "is_exposed": True, "sample_type": "exposed", "p_inclusion": 1.0, "weight": 1.0}
    held = [fields | {"item_id": name, "y_click": click, "y_pay": pay} for name, click, pay in items]
    row = {"request_id": request_id, "user_id": "u", "domain": "search", "is_pseudo": False, "requested_at": NOON, "query_source": "native"}
    return row | {"items": held} | more


@pytest.fixture
def lake(tmp_path):
    """Two days of items, the first in two files."""
    folder = tmp_path / "a lake ü"
    publish_day(folder, ITEMS, D1, [item("a"), item("b")], [item("c")], code="c1")
    publish_day(folder, ITEMS, D2, [item("d")], code="c2")
    return folder


def root(lake, contract=ITEMS):
    return Path(table_root(str(lake), contract))


def rows_of(manifest):
    paths = [f"{manifest.root}/{f.path}" for f in manifest.files]
    return [row for path in paths for row in pq.ParquetFile(path).read().to_pylist()]


def item_ids(manifest):
    return [row["item_id"] for row in rows_of(manifest)]


# --- what it pins


def test_it_names_version_files_receipts_seed_and_code(lake):
    made = create(lake, "base", "items", DAYS, seed=5)
    receipts = [json.loads((root(lake) / "_receipts" / f"{day}.1.json").read_text()) for day in (D1, D2)]
    assert (made.table, made.root, made.version, made.contract_version) == ("items", str(root(lake)), 2, 1)
    assert made.days == (str(D1), str(D2))
    assert [(f.path, f.day, f.rows) for f in made.files] == [
        (f"day={D1}/b=one/split=kept/part-0.parquet", str(D1), 2),
        (f"day={D1}/b=one/split=kept/part-1.parquet", str(D1), 1),
        (f"day={D2}/b=one/split=kept/part-0.parquet", str(D2), 1),
    ]
    assert all((root(lake) / f.path).stat().st_size == f.size for f in made.files)
    assert (made.rows, made.bytes) == (4, sum(f.size for f in made.files))
    assert list(made.receipts.values()) == receipts
    assert made.sampler == {"seed": 5, "code": {str(D1): "c1", str(D2): "c2"}}
    assert list(made.columns) == [c.name for c in ITEMS.columns] and made.columns["category_path"] == "list<string>"
    assert verify(made) == []


def test_it_is_one_json_file_beside_the_tables_and_is_read_back_equal(lake):
    made = create(lake, "base", "items", (D1, D2))
    path = lake / "_manifests" / "base.json"
    assert [p.name for p in path.parent.iterdir()] == ["base.json"]
    assert json.loads(path.read_text()) == json.loads(json.dumps(asdict(made)))
    assert load(lake, "base") == load_file(path) == made
    assert names(lake) == ["base"]


def test_what_is_published_later_changes_nothing_that_it_names(lake):
    create(lake, "base", "items", DAYS)
    publish_day(lake, ITEMS, D1, [item("z")], run="two")
    old, new = load(lake, "base"), create(lake, "next", "items", DAYS)
    assert (item_ids(old), item_ids(new)) == (["a", "b", "c", "d"], ["z", "d"])
    assert verify(old) == verify(new) == []


def test_a_day_without_rows_is_pinned_by_its_receipt(lake):
    publish_day(lake, ITEMS, D3)
    made = create(lake, "empty", "items", f"{D3}..{D3}")
    assert (made.days, made.files, made.rows, made.receipts[str(D3)]["rows"]) == ((str(D3),), (), 0, 0)
    assert verify(made) == []


def test_the_receipt_of_a_run_that_died_after_its_commit_comes_from_the_log(lake):
    copy = root(lake) / "_receipts" / f"{D2}.1.json"
    kept = json.loads(copy.read_text())
    copy.unlink()
    made = create(lake, "base", "items", DAYS)
    assert made.receipts[str(D2)] == kept and kept["version"] == 2
    assert verify(made) == []


def test_a_lake_given_as_an_address_is_the_same_lake(lake):
    made = create(f"file://{str(lake).replace(' ', '%20').replace('ü', '%C3%BC')}/", "base", "items", DAYS)
    assert verify(made) == []
    assert (load(lake, "base").files, identity(load(lake, "base"))) == (made.files, identity(made))


def test_a_lake_that_was_moved_is_read_where_it_is_now(lake):
    before = create(lake, "base", "items", DAYS)
    moved = lake.with_name("moved")
    shutil.move(lake, moved)
    after = load(moved, "base")
    assert (after.root, verify(after), item_ids(after)) == (str(root(moved)), [], ["a", "b", "c", "d"])
    assert identity(after) == identity(before)
    shutil.copy(moved / "_manifests" / "base.json", moved.parent / "copy.json")
    assert load_file(moved.parent / "copy.json") == before


def test_identity_is_of_the_rows_alone(lake):
    base = create(lake, "base", "items", DAYS)
    publish_day(lake, ITEMS, D3, [item("e")])
    again = create(lake, "again", "items", DAYS, seed=99)
    assert again.version > base.version and identity(again) == identity(base)
    others = [create(lake, "less", "items", f"{D1}..{D1}"), create(lake, "more", "items", f"{D1}..{D3}")]
    publish_day(lake, ITEMS, D2, [item("d")], run="two")
    others.append(create(lake, "rebuilt", "items", DAYS))
    assert len({identity(m) for m in [base, *others]}) == 4


# --- what it refuses


def test_everything_that_is_wrong_is_told_at_once(tmp_path):
    ages = {D1: 8, D2: 3, D3: 7}  # days for which the labels are known; the contract asks for 8
    for day, age in ages.items():
        publish_day(tmp_path, SAMPLES, day, [request("r", ("a", 0, 0))], label_as_of=str(day + timedelta(days=age)))
    last = date(2026, 1, 11)
    publish_day(tmp_path, SAMPLES, last, [request("r", ("a", 0, 0))], label_as_of=str(last), rows=5)
    files = sorted(root(tmp_path, SAMPLES).glob("day=*/**/*.parquet"))
    files[0].unlink()
    with files[1].open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(ManifestError) as error:
        create(tmp_path, "base", "entire_space", f"2026-01-04..{last}", mature=True)
    told = str(error.value).splitlines()
    assert told[0] == "manifest base of entire_space 2026-01-04..2026-01-11 is refused:"
    path, remedy = "b=one/split=kept/part-0.parquet", "restore it from a copy of the lake, or have the day published anew"
    build = "sluice backfill entire_space --days {} --with-upstream"
    size = files[1].stat().st_size
    lake_root = root(tmp_path, SAMPLES)
    assert [line.strip() for line in told[1:]] == [
        f"entire_space 2026-01-04 has no receipt, so no gate has let it in: {build.format('2026-01-04..2026-01-04')}",
        f"entire_space 2026-01-08..2026-01-10 has no receipt, so no gate has let it in: {build.format('2026-01-08..2026-01-10')}",
        "entire_space 2026-01-06..2026-01-07: labels are still open, known for 3..7 of 8 days; "
        f"once the lake holds its inputs up to 2026-01-15: {build.format('2026-01-06..2026-01-07')}",
        "entire_space 2026-01-11: labels are still open, known for 0 of 8 days; "
        f"once the lake holds its inputs up to 2026-01-19: {build.format('2026-01-11..2026-01-11')}",
        f"day={D1}/{path} under {lake_root} is gone: {remedy}",
        f"day={D2}/{path} under {lake_root} has {size} bytes, not {size - 1}: {remedy}",
        "2026-01-11: the files hold 1 rows, the receipt says 5",
    ]
    assert not (tmp_path / "_manifests").exists()


def test_labels_count_only_where_mature_is_asked_for(tmp_path):
    publish_day(tmp_path, SAMPLES, D1, [request("r", ("a", 0, 0))], label_as_of=str(D1 + timedelta(days=8)))
    publish_day(tmp_path, SAMPLES, D2, [request("r", ("a", 0, 0))], label_as_of=str(D2 + timedelta(days=7)))
    assert create(tmp_path, "first", "entire_space", f"{D1}..{D1}", mature=True).is_mature
    with pytest.raises(ManifestError, match=f"entire_space {D2}: labels are still open, known for 7 of 8 days"):
        create(tmp_path, "both", "entire_space", DAYS, mature=True)
    made = create(tmp_path, "both", "entire_space", DAYS)
    assert (made.is_mature, made.label_as_of) == (False, {str(D1): "2026-01-13", str(D2): "2026-01-13"})


def test_a_table_without_labels_is_always_mature(lake):
    assert create(lake, "base", "items", DAYS, mature=True).is_mature


def test_a_day_that_was_only_announced_or_never_published_has_no_receipt(lake, tmp_path):
    for count in (0, 1):  # left by a run that died before its commit, and by a table that lay here before
        (root(lake) / "_receipts" / f"{D3}.{count}.json").write_text("{}")
    with pytest.raises(ManifestError, match=f"items {D3} has no receipt.*sluice ingest SOURCE --days {D3}..{D3}"):
        create(lake, "base", "items", f"{D1}..{D3}")
    with pytest.raises(ManifestError, match=f"items {D1}..{D2} has no receipt"):
        create(tmp_path / "nothing here", "base", "items", DAYS)
    assert not (tmp_path / "nothing here").exists()
    with pytest.raises(ValueError, match=f"the last day is before the first; write {D1}..{D2}"):
        create(lake, "base", "items", (D2, D1))
    with pytest.raises(ContractError, match="no table 'orders'"):
        create(lake, "base", "orders", DAYS)


@pytest.mark.parametrize("name", ["", ".", "..", "../up", "a/b", "/abs", "a\\b", ".hidden", "a b", "ü", "a\n", "-x", "n" * 101, "a\0"])
def test_a_name_that_is_no_plain_file_name_is_refused_everywhere(lake, name):
    before = sorted(lake.parent.rglob("*"))
    for call in (lambda: create(lake, name, "items", DAYS), lambda: load(lake, name), lambda: delete(lake, name)):
        with pytest.raises(ValueError, match="is no name of a manifest"):
            call()
    assert sorted(lake.parent.rglob("*")) == before


def test_a_name_is_given_once(lake):
    made = create(lake, "base", "items", DAYS)
    publish_day(lake, ITEMS, D3, [item("e")])  # another day: the version moves, the content does not
    assert create(lake, "base", "items", DAYS) == made
    for changed in (lambda: create(lake, "base", "items", DAYS, seed=1), lambda: create(lake, "base", "items", f"{D1}..{D3}")):
        with pytest.raises(ManifestError, match=r"there is a manifest base with other .*sluice manifest delete base"):
            changed()
    assert load(lake, "base") == made
    delete(lake, "base")
    assert create(lake, "base", "items", f"{D1}..{D3}").rows == 5


def test_one_that_is_not_there_or_broken_is_told(lake):
    with pytest.raises(ManifestError, match=r"no manifest other in .*_manifests \(there: none\)"):
        load(lake, "other")
    create(lake, "base", "items", DAYS)
    (lake / "_manifests" / "base.json.17.tmp").write_text("{")
    for call in (lambda: load(lake, "other"), lambda: delete(lake, "other")):
        with pytest.raises(ManifestError, match=r"\(there: base\); make it: sluice manifest create other --table T"):
            call()
    for broken in ("{", "{}", "[]", '{"files": [{}], "days": []}', '{"files": [], "days": [], "name": "base"}'):
        (lake / "_manifests" / "base.json").write_text(broken)
        with pytest.raises(ManifestError, match=r"base\.json is no manifest that this version of Sluice reads"):
            load(lake, "base")
    delete(lake, "base")
    assert names(lake) == []


# --- what changed since


def test_files_that_are_gone_or_differ_are_found(lake):
    made = create(lake, "base", "items", DAYS)
    first, second, third = (root(lake) / f.path for f in made.files)
    first.unlink()
    second.write_bytes(second.read_bytes() + b"x")
    third.write_bytes(b"x" * made.files[2].size)
    gone, longer, unreadable = verify(made)
    assert gone.startswith(f"{made.files[0].path} under {made.root} is gone")
    assert f"has {made.files[1].size + 1} bytes, not {made.files[1].size}" in longer
    assert unreadable.startswith(f"{made.files[2].path} cannot be read")
    shutil.rmtree(root(lake))
    assert verify(made) == [f"there is no table any more at {root(lake)}"]


def test_rows_types_and_receipts_that_differ_from_what_was_pinned_are_found(lake):
    made = create(lake, "base", "items", f"{D1}..{D1}")
    changed = replace(
        made,
        files=(replace(made.files[0], rows=9), made.files[1]),
        columns={n: t for n, t in made.columns.items() if n != "brand"} | {"price_cents": "double"},
    )
    path = made.files[0].path
    assert verify(changed)[:3] == [
        f"{path} has 2 rows, not 9",
        f"{path} has brand as string, pinned is None",
        f"{path} has price_cents as int64, pinned is double",
    ]
    receipt = root(lake) / "_receipts" / f"{D1}.1.json"
    facts = json.loads(receipt.read_text())
    receipt.write_text(json.dumps(facts | {"content_hash": "3-0"}))
    assert verify(made) == [f"{D1}: the table's receipt says content 3-0, pinned was {facts['content_hash']}"]
    receipt.unlink()
    assert verify(made) == []  # the log still holds it
    for commit in (root(lake) / "_delta_log").glob("*.json"):
        commit.write_text(commit.read_text().replace('\\"publish\\": 1', '\\"publish\\": 7'))
    assert verify(made) == [f"{D1}: the table has lost the receipt of publish 1"]


def test_a_column_that_was_added_since_a_file_was_written_is_no_fault(lake):
    before = create(lake, "before", "items", DAYS)
    wider = replace(ITEMS, columns=(*ITEMS.columns, Column("colour", "string", "Colour.", nullable=True)))
    publish_day(lake, wider, D3, [item("e", colour="red")])
    after = create(lake, "after", "items", f"{D1}..{D3}")
    assert verify(before) == verify(after) == []
    assert before.schema_hash != after.schema_hash
    assert diff(before, after)["schema"] == {"added": {"colour": "string"}, "removed": {}, "changed": {}}


def test_a_manifest_outlives_the_log_of_its_version(lake):
    made = create(lake, "base", "items", DAYS)
    publish_day(lake, ITEMS, D1, [item("z")], run="two")
    DeltaTable(str(root(lake))).create_checkpoint()
    for commit in (root(lake) / "_delta_log").glob("*.json"):
        commit.unlink()
    assert verify(made) == []
    assert item_ids(load(lake, "base")) == ["a", "b", "c", "d"]


def test_the_vacuum_of_deltalake_spares_it_when_told_its_version(lake):
    """The way on an object store, where `sluice maintain` does not clean."""
    made = create(lake, "base", "items", DAYS)
    for run in ("two", "three"):
        publish_day(lake, ITEMS, D1, [item(run)], run=run)
    table, now = DeltaTable(str(root(lake))), {"retention_hours": 0, "dry_run": False, "enforce_retention_duration": False}
    assert [path.split("/")[1] for path in table.vacuum(**now, keep_versions=[made.version])] == ["b=two"]
    assert verify(made) == []
    DeltaTable(str(root(lake))).vacuum(**now)
    assert len(verify(made)) == 2


# --- what two differ in


@pytest.fixture
def two(tmp_path):
    """Three days of samples; in the second manifest the first day is gone, the second is built again, a fourth has come."""
    known = {"label_as_of": "2026-01-09"}
    publish_day(tmp_path, SAMPLES, D1, [request("r1", ("a", 1, 1))], **known)
    publish_day(tmp_path, SAMPLES, D2, [request("r2", ("a", 1, 0), ("b", 0, 0))], **known)
    publish_day(tmp_path, SAMPLES, D3, [request("r3", ("a", 0, 0))], **known)
    before = create(tmp_path, "before", "entire_space", f"{D1}..{D3}")
    publish_day(tmp_path, SAMPLES, D2, [request("r2", ("a", 1, 1), ("b", 1, 0))], run="two", label_as_of="2026-01-14", code="new")
    publish_day(tmp_path, SAMPLES, D4, [request("r4", ("a", 1, 0), query_norm="shoes")], **known)
    return before, create(tmp_path, "after", "entire_space", f"{D2}..{D4}")


def test_rows_labels_days_and_code_that_changed(two):
    a, b = two
    seen = []
    found = diff(a, b, watch=lambda: seen.append(1))
    assert found["rows"] == [3, 3]
    assert found["labels"] == {"y_click": [2, 3], "y_pay": [1, 1]}  # 1+1+0 and 2+0+1; 1+0+0 and 1+0+0
    hashes = [m.receipts[str(D2)]["content_hash"] for m in two]
    assert found["days"] == {"added": [str(D4)], "removed": [str(D1)], "changed": {str(D2): hashes}}
    assert found["label_as_of"] == {str(D2): ["2026-01-09", "2026-01-14"]}
    assert found["code"] == {str(D2): ["c0de", "new"]}
    assert len(seen) == 5, "the file that both name is read once"
    of = {d["column"]: d for d in found["distributions"]}
    assert of["items.y_click"]["mean"] == [0.5, 0.75] and of["query_norm"]["null_share"] == [1.0, pytest.approx(2 / 3)]
    assert of["len(items)"]["mean"] == [pytest.approx(4 / 3)] * 2
    assert json.loads(json.dumps(found)) == found


def test_nothing_differs_from_itself_but_the_name(two):
    a, _ = two
    found = diff(a, a)
    assert found["a"] == found["b"] and found["days"] == {"added": [], "removed": [], "changed": {}}
    assert not any(found[key] for key in ("label_as_of", "code")) and found["labels"] == {"y_click": [2, 2], "y_pay": [1, 1]}
    assert found["distributions"] and all(d["distance"] == 0 for d in found["distributions"])


def test_only_manifests_of_one_table_are_compared(two, lake):
    with pytest.raises(ManifestError, match=r"before is of table entire_space, base of items"):
        diff(two[0], create(lake, "base", "items", DAYS))
