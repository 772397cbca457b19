"""Evaluation: which rows are measured against which label, beside popularity and beside the simulator's planted chances."""

import math

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from tests.training.batches import random_batch
from training.hhsft.batches import FEATURES, columns, of_stage
from training.hhsft.config import config
from training.hhsft.evaluate import evaluate, scored
from training.hhsft.model import Model, p_click
from training.loop import TrainingError
from training.metrics import auc


def model():
    torch.manual_seed(0)
    return Model(config("tiny", table_rows=1 << 10))


def with_ids(batch, prefix):
    requests = [f"{prefix}-{n}" for n in range(len(batch["domain_id"]))]
    return batch | {"request_id": requests, "items.item_id": [f"i{n}" for n in range(len(batch["request_of_item"]))]}


def test_search_is_measured_on_exposed_rows_with_native_labels():
    batches, made = [random_batch(12, seed=n) for n in range(3)], model()
    found = evaluate(made, batches)
    scores, labels, popular, requests = [], [], [], 0
    for batch in batches:
        domain_N = batch["domain_id"][batch["request_of_item"]]
        is_in_N = (domain_N == 1) & batch["items.is_exposed"]
        scores.append(p_click(made(batch).detach())[is_in_N])
        labels.append(batch["items.y_click_native"][is_in_N])
        popular.append(batch["items.item_clicks"][is_in_N])
        requests += len(batch["request_of_item"][is_in_N].unique())
    search = found["search"]["model"]
    assert (search["rows"], search["requests"], search["positives"]) == (len(torch.cat(labels)), requests, int(torch.cat(labels).sum()))
    assert search["auc"] == pytest.approx(auc(torch.cat(scores), torch.cat(labels)), abs=1e-3)
    assert found["search"]["popularity"]["auc"] == auc(torch.cat(popular).float(), torch.cat(labels))
    assert search["calibration"]["ratio"] == pytest.approx(float(torch.cat(scores).sum() / torch.cat(labels).sum()), rel=1e-3)


def test_other_domains_are_measured_apart_with_credited_labels():
    batches = [random_batch(12, seed=n) for n in range(3)]
    found = evaluate(model(), batches)
    for name, domain in (("rec", 2), ("shop", 3), ("candidates", 1)):
        labels = [b["items.y_click"][b["domain_id"][b["request_of_item"]] == domain] for b in batches]
        assert found[name]["model"]["rows"] == sum(map(len, labels)) > 0
        assert found[name]["model"]["positives"] == sum(int(y.sum()) for y in labels)


def test_requests_of_different_batches_are_different():
    batches = [random_batch(3, seed=n) for n in range(4)]
    rows = scored(model(), batches)
    assert rows["request"].unique().tolist() == list(range(12))
    assert not rows["p_click"].requires_grad


def planted(folder, batches):
    """Truth that knows a chance for every exposed row of search; the first of them listed twice."""
    rows = []
    for batch in batches:
        for n, (request, item) in enumerate(zip(batch["request_of_item"].tolist(), batch["items.item_id"], strict=True)):
            p = 0.9 if batch["items.y_click_native"][n] else 0.1
            known = p if batch["items.is_exposed"][n] else None
            rows.append({"request_id": batch["request_id"][request], "item_id": item, "p_click": known, "preference": 1 - p})
    (folder / "candidates").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist([*rows, rows[0]]), folder / "candidates" / "part.parquet")


def test_the_oracle_stands_beside_on_the_simulator(tmp_path):
    batches = [with_ids(random_batch(12, seed=n), n) for n in range(2)]
    planted(tmp_path / "truth", batches)
    search = evaluate(model(), batches, tmp_path / "truth")["search"]
    assert search["oracle"]["auc"] == 1.0 and search["oracle_without_position"]["auc"] == 0.0
    assert search["oracle"]["rows"] == search["model"]["rows"]


def test_truth_of_another_lake_is_refused(tmp_path):
    batches = [with_ids(random_batch(12), "ours")]
    planted(tmp_path / "truth", [with_ids(random_batch(12), "theirs")])
    with pytest.raises(TrainingError, match="knows none of the"):
        evaluate(model(), batches, tmp_path / "truth")
    with pytest.raises(TrainingError, match="no folder of planted truth"):
        evaluate(model(), batches, tmp_path / "nothing")


def test_nothing_to_evaluate_on_is_an_error_and_what_cannot_be_measured_is_nan():
    with pytest.raises(TrainingError, match="no request to evaluate on"):
        evaluate(model(), [random_batch(0)])
    found = evaluate(model(), [random_batch(4, (1,))])
    assert found["rec"]["model"]["rows"] == 0 and math.isnan(found["rec"]["model"]["auc"])


# --- stages of ES3


def test_a_stage_has_its_samples_and_its_labels():
    batch = random_batch(30)
    is_real_N = batch["domain_id"][batch["request_of_item"]] == 1
    is_shown_N, native_N = is_real_N & batch["items.is_exposed"], batch["items.y_click_native"]
    cases = [("exposed", is_shown_N, native_N), ("unexposed", is_real_N, native_N), ("attributed", is_real_N, batch["items.y_click"])]
    for stage, is_kept_N, label_N in cases:
        found = of_stage(batch, stage)
        assert torch.equal(found["items.y_click"], label_N[is_kept_N]) and 0 < len(found["items.y_click"]) < len(label_N)
        assert torch.equal(found["request_of_item"], batch["request_of_item"][is_kept_N])
        assert (found["items.y_pay"] <= found["items.y_click"]).all()
        words, before = found["items.item_tokens"], batch["items.item_tokens"]
        expected = [before.values[before.offsets[n] : before.offsets[n + 1]] for n in is_kept_N.nonzero()[:, 0].tolist()]
        assert torch.equal(words.values, torch.cat(expected)) and words.offsets.diff().tolist() == list(map(len, expected))
    assert of_stage(batch, "entire_space") is batch


def test_columns_of_a_stage_are_those_that_it_reads():
    for stage in ("exposed", "unexposed", "attributed", "entire_space"):
        wanted = {name: value for name, value in random_batch().items() if name in columns(stage) or name == "request_of_item"}
        assert model()(of_stage(wanted, stage)).isfinite().all()
    assert "items.y_click_native" not in columns("entire_space") and set(FEATURES) <= set(columns("entire_space"))
