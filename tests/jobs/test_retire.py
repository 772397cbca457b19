"""Old versions of a contract in a lake: named, cleaned, read, and taken away when nobody needs them."""

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest

from jobs.maintain import maintain
from jobs.messages import UsageError
from jobs.retire import at_version, retire
from jobs.storage import open_table, versions
from schemas.contract import ContractError, quarantine_of
from schemas.items import CONTRACT as OLD
from tests.jobs.published import item, publish_day, stage
from training.manifest import create

DAY, OTHER = date(2026, 1, 5), date(2026, 1, 6)
NOW = replace(OLD, version=2)


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """Two days of version 1 with quarantine, one of them in version 2 too."""
    publish_day(tmp_path, OLD, DAY, [item("a")])
    publish_day(tmp_path, OLD, OTHER, [item("b")], run="other")
    row = {"run_id": "r", "rule": "r", "key": "k", "row": "{}", "reason": "r"}
    publish_day(tmp_path, quarantine_of(OLD), DAY, [row])
    publish_day(tmp_path, NOW, DAY, [item("new")])
    return tmp_path


def test_versions_lie_side_by_side(lake):
    assert versions(str(lake), NOW) == [1, 2] and versions(str(lake / "nowhere"), NOW) == []
    assert at_version(str(lake), NOW, 1).days == [DAY, OTHER] and open_table(lake, NOW).days == [DAY]


def test_a_version_goes_with_its_quarantine_when_the_next_one_holds_its_days(lake):
    with pytest.raises(ContractError, match=r"version 2 lacks 1 days that version 1 holds: sluice backfill items --days 2026-01-06\.\."):
        retire(str(lake), NOW, 1)
    publish_day(lake, NOW, OTHER, [item("new too")], run="other")
    announced = retire(str(lake), NOW, 1, dry_run=True)
    assert [f["path"] for f in announced] == [f"{lake}/items/v1", f"{lake}/items_quarantine/v1"] and versions(str(lake), NOW) == [1, 2]
    assert retire(str(lake), NOW, 1) == announced
    assert versions(str(lake), NOW) == [2] and versions(str(lake), quarantine_of(NOW)) == []
    assert open_table(lake, NOW).days == [DAY, OTHER]


def test_days_may_be_given_up_knowingly(lake):
    retire(str(lake), NOW, 1, lose_days=True)
    assert versions(str(lake), NOW) == [2]


def test_what_is_in_use_or_pinned_or_not_there_stays(lake):
    for version in (2, 3):
        with pytest.raises(UsageError, match=rf"no old version {version} in .*in use is 2, older ones there: 1"):
            retire(str(lake), NOW, version)
    create(lake, "base", "items", f"{DAY}..{DAY}")
    with pytest.raises(ContractError, match=r"named by manifests: base\. .*sluice manifest delete base"):
        retire(str(lake), NOW, 1, lose_days=True)
    assert versions(str(lake), NOW) == [1, 2]


def test_maintain_cleans_versions_that_are_not_retired_yet(lake, monkeypatch):
    monkeypatch.setattr("schemas.items.CONTRACT", NOW)
    for contract in (OLD, NOW):
        stage(lake, contract, DAY, [item("dead")], "dead")
    taken = [str(Path(f["path"]).relative_to(lake)) for f in maintain(str(lake), timedelta(days=7))]
    assert taken == [f"items/v{n}/day={DAY}/b=dead" for n in (1, 2)]
    assert at_version(str(lake), NOW, 1).files([DAY]) and list(maintain(str(lake), timedelta(days=7))) == []
