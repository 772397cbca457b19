"""What the tables of a reproduction are made of: paired differences, their intervals, the order that came out, and what is run again."""

import json
import math
from dataclasses import asdict

import pytest

from training.hhsft import reproduce
from training.hhsft.config import config
from training.manifest import File, Manifest, identity


def values(**aucs):
    return {name: dict.fromkeys(reproduce.MEASURES, of_seeds) for name, of_seeds in aucs.items()}


def test_a_difference_is_paired_over_seeds_and_its_interval_is_students():
    found = reproduce.difference([0.71, 0.72, 0.76], [0.70, 0.70, 0.73])  # 1, 2 and 3 points of 100
    assert found["mean"] == pytest.approx(2)
    assert found["half_width"] == pytest.approx(4.303 * 1 / math.sqrt(3))  # standard deviation 1, two degrees of freedom
    assert reproduce.difference([0.5], [0.4]) == {"mean": pytest.approx(10), "half_width": None}


def test_differences_leave_out_the_base():
    found = reproduce.differences(values(dlrm=[0.5, 0.5], rankmixer=[0.6, 0.6]), "dlrm")
    assert found["rankmixer"]["gauc"] == {"mean": pytest.approx(10), "half_width": pytest.approx(0)}
    assert list(found) == ["rankmixer"] and list(found["rankmixer"]) == list(reproduce.MEASURES)


def test_an_order_came_out_only_where_the_interval_leaves_out_zero():
    clear, reversed_, unclear = [0.60, 0.61, 0.62], [0.50, 0.51, 0.52], [0.40, 0.70, 0.55]
    found = reproduce.orders(values(**{"hhsft + ES3": clear, "hhsft": reversed_, "rankmixer": clear, "dlrm": unclear}))
    assert [(o["better"], o["worse"], o["came_out"]) for o in found] == [
        ("hhsft + ES3", "hhsft", "yes"),
        ("hhsft", "rankmixer", "no"),
        ("rankmixer", "dlrm", "open"),
    ]


def test_every_run_of_the_papers_tables_is_there_and_is_a_configuration_of_its_own():
    named = {*reproduce.QUICK, *reproduce.PAPER_MODELS, *reproduce.PAPER_ABLATION, *(n for pair in reproduce.ORDER for n in pair)}
    assert named <= set(reproduce.RUNS)
    made = [config("tiny", **changes) for changes in reproduce.RUNS.values()]
    assert len(set(made)) == len(made) == 12


def manifest(rows):
    files = (File("day=2026-01-05/a.parquet", "2026-01-05", 10, rows),)
    return Manifest(
        name="m", table="hhsft_examples", root="/lake/t/v1", version=1, contract_version=1, schema_hash="s", days=("2026-01-05",),
        files=files, receipts={}, label_as_of={}, is_mature=False, sampler={}, created_at="",
    )  # fmt: skip


def test_a_run_is_done_when_its_report_is_of_the_same_configuration_and_rows(tmp_path):
    train, test, settings = manifest(3), manifest(4), config("tiny", **reproduce.RUNS["hhsft"])
    assert reproduce._finished(tmp_path, settings, train, test) is None
    report = {"config": asdict(settings), "identity": identity(train), "test_identity": identity(test)}
    (tmp_path / "report.json").write_text(json.dumps(report))
    assert reproduce._finished(tmp_path, settings, train, test)["identity"] == identity(train)
    assert reproduce._finished(tmp_path, config("tiny"), train, test) is None
    assert reproduce._finished(tmp_path, settings, test, test) is None
    assert reproduce._finished(tmp_path, settings, train, train) is None
