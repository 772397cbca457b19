"""The retriever on a small planted world: queries of words that no title has, learnt from pairs; seeds, masks, shares, resuming."""

import os
import random
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
import torch

from schemas.retriever_examples import CONTRACT, KINDS, TOKENS
from tests.jobs.published import publish_day
from tests.training.examples import FIRST
from tests.training.pairs import ITEMS_EACH, NUM_KINDS_OF_ITEM, world
from training import loop, retriever
from training.manifest import create
from training.retriever import Batches, Config, Model, evaluate, fit, main, rarity, read, tiny

SMALL = replace(tiny(), pairs_per_batch=32, num_drawn=32, d=32, d_hidden=32, table_rows=1 << 12, epochs=6)


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("retriever") / "lake"
    rows = world(range(8), range(8, 12))
    publish_day(folder, CONTRACT, FIRST, rows[: len(rows) // 2], rows[len(rows) // 2 :])
    publish_day(folder, CONTRACT, FIRST + timedelta(days=1), list(reversed(rows)))
    return folder


@pytest.fixture(scope="module")
def pinned(lake):
    return [create(lake, f"day-{n}", "retriever_examples", (FIRST + timedelta(days=n),) * 2) for n in range(2)]


@pytest.fixture(scope="module")
def examples(pinned):
    return read(pinned[0])


@pytest.fixture(scope="module")
def trained(pinned, tmp_path_factory):
    out = tmp_path_factory.mktemp("trained")
    return out, {share: main(pinned[0], None, replace(SMALL, share=share), out / str(share), seed=3, device="cpu") for share in (0, 0.2)}


def test_examples_are_the_same_whatever_the_order_of_rows_and_files(pinned, examples):
    other = read(pinned[1])
    assert len(examples.shelf) == NUM_KINDS_OF_ITEM * ITEMS_EACH
    assert torch.bincount(examples.pairs["kind"]).tolist() == [8 * 6 * 3, 4 * 6 * 3, 12 * 8]
    for ours, theirs in zip(examples, other, strict=True):
        flat = [list(each.values()) if isinstance(each, dict) else list(each) for each in (ours, theirs)]
        assert all(a == b if isinstance(a, str | None) else torch.equal(a, b) for a, b in zip(*flat, strict=True))


def test_pairs_lift_queries_that_only_they_know_and_cost_the_others_nothing(trained):
    without, with_pairs = (trained[1][share]["metrics"] for share in (0, 0.2))
    chance = 10 * ITEMS_EACH / (NUM_KINDS_OF_ITEM * ITEMS_EACH) / 10  # good places among ten drawn at random: 1 of 12
    assert without["lexical"]["all"]["good_rate@10"] == pytest.approx(chance, abs=0.06)  # no word in common
    assert without["model"]["tail"]["good_rate@10"] < 2.5 * chance
    assert with_pairs["model"]["tail"]["good_rate@10"] > 0.7  # at most 8 of 10
    assert with_pairs["model"]["tail"]["queries"] == 4 and with_pairs["model"]["head"]["queries"] == 8
    assert with_pairs["model"]["head"]["good_rate@10"] >= without["model"]["head"]["good_rate@10"] - 0.1 > 0.5


def test_pairs_of_wrong_items_lift_nothing(tmp_path):
    rows = world(range(8), range(8, 12))
    items = [r for r in rows if r["kind"] == "catalogue"]
    draw = random.Random(5)
    taken = {name: [r[name] for r in items] for name in ("item_id", "item_hash", "item_tokens")}
    places = {(r["query_norm"], n): draw.randrange(len(items)) for n, r in enumerate(rows)}
    moved = [{k: v[places[r["query_norm"], n]] for k, v in taken.items()} for n, r in enumerate(rows)]
    wrong = [r | other if r["kind"] == "synthetic" else r for r, other in zip(rows, moved, strict=True)]
    publish_day(tmp_path / "lake", CONTRACT, FIRST, wrong)
    of = create(tmp_path / "lake", "wrong", "retriever_examples", (FIRST, FIRST))
    report = main(of, None, replace(SMALL, share=0.2), tmp_path, seed=3)
    assert report["metrics"]["model"]["tail"]["good_rate@10"] < 0.3


def test_a_batch_holds_the_share_and_each_observed_pair_is_met_once(examples):
    batches = Batches(examples, replace(SMALL, share=0.2), seed=1)
    sizes = [(len(b["weight_B"]), b["is_known_BC"].shape[1]) for b in batches.at(0, 0)]
    assert [rows for rows, _ in sizes] == [40, 40, 40, 40, 24]  # 144 observed by 32, and 8 synthetic each: a fifth
    queries = torch.cat([b["queries"].offsets.diff() for b in batches.at(1, 0)])
    assert len(queries) == 144 + 5 * 8
    assert [len(batches._in_turn(step)) for step in range(20)] == [8] * 20
    first = torch.cat([batches._in_turn(step) for step in range(9)])
    assert first.sort().values.tolist() == list(range(72))  # all of them, then anew
    assert not any(len(b) for b in (Batches(examples, replace(SMALL, share=0), seed=1)._in_turn(0),))


def test_batches_depend_on_seed_epoch_and_step_alone(examples):
    def flat(seed, epoch, step):
        return [b["candidates"].values for b in Batches(examples, SMALL, seed).at(epoch, step)]

    assert all(torch.equal(a, b) for a, b in zip(flat(1, 1, 0)[2:], flat(1, 1, 2), strict=True))
    assert not torch.equal(flat(1, 0, 0)[0], flat(1, 1, 0)[0]) and not torch.equal(flat(1, 0, 0)[0], flat(2, 0, 0)[0])


def test_what_is_known_to_be_right_is_no_negative_and_hard_ones_are(examples):
    batches = Batches(examples, replace(SMALL, share=0.2, pairs_per_batch=200), seed=1)
    pairs = batches.log
    made = batches._batch(pairs, np.random.default_rng(1))
    known = {pair for part in (batches.log, batches.synthetic) for pair in zip(part["query"].tolist(), part["item"].tolist(), strict=True)}
    hard = batches._hard(pairs["query"], np.random.default_rng(1))
    assert len(hard) == 6 * 3 and len(hard.unique()) == 1  # queries of kind 0 have one; no other has any
    assert torch.equal(made["candidates"].offsets.diff()[len(pairs["query"]) :][:18], torch.full((18,), 2))
    for b, (query, own) in enumerate(zip(pairs["query"].tolist(), pairs["item"].tolist(), strict=True)):
        for c, item in enumerate(pairs["item"].tolist()):
            assert made["is_known_BC"][b, c] == ((query, item) in known and b != c)
        assert not made["is_known_BC"][b, b] and (query, own) in known


def test_the_same_seed_gives_the_same_weights_also_after_a_kill(examples, pinned, trained, tmp_path):
    settings, out = replace(SMALL, share=0.2), trained[0] / "0.2"
    facts = {"config": retriever.asdict(settings), "seed": 3, "manifest": pinned[0].name, "identity": "other"}

    class KilledError(Exception):
        pass

    def dying(model, batch, seen=[0]):  # noqa: B006
        seen[0] += 1
        if seen[0] == 9:  # within the second epoch
            raise KilledError
        return retriever.loss(model, batch)

    torch.manual_seed(3)
    model = Model(settings, rarity(examples, settings.table_rows))
    batches = Batches(examples, settings, 3)
    steppers = loop.optimizers(model, lr_sparse=settings.lr_sparse, lr_dense=settings.lr_dense, weight_decay=settings.weight_decay)
    with pytest.raises(KilledError):
        loop.fit(model, dying, batches.at, steppers, loop.Plan(tmp_path, batches.num_steps, settings.epochs, 3, facts))
    resumed, _ = fit(examples, settings, tmp_path, seed=3, device=torch.device("cpu"), facts=facts)
    whole = retriever.load(out)
    assert all(torch.equal(a, b) for a, b in zip(resumed.state_dict().values(), whole.state_dict().values(), strict=True))
    other, _ = fit(examples, settings, tmp_path / "other", seed=4, device=torch.device("cpu"), facts=facts)
    assert not torch.equal(other.tokens.weight, whole.tokens.weight)


def test_a_saved_model_scores_as_the_report_says(examples, trained):
    found = evaluate(retriever.load(trained[0] / "0.2"), examples)
    assert found["model"] == trained[1][0.2]["metrics"]["model"]


def test_the_report_says_what_was_read(trained):
    report = trained[1][0.2]
    assert report["pairs"] == {"log": 144, "synthetic": 72, "evaluation": 96, "catalogue": 96} and tuple(report["pairs"]) == KINDS
    assert report["steps"] == 6 * 5 and report["parameters"]["embeddings"] == (1 << 12) * 32
    assert os.path.exists(trained[0] / "0.2" / "report.json") and TOKENS > 1 << 12


def test_what_cannot_be_trained_on_is_told(lake, pinned, tmp_path):
    both = create(lake, "both", "retriever_examples", (FIRST, FIRST + timedelta(days=1)))
    with pytest.raises(loop.TrainingError, match="has 2 days, and each day is a whole training set: pin one"):
        main(both, None, SMALL, tmp_path, seed=1)
    with pytest.raises(loop.TrainingError, match="not after 2026-01-02"):
        main(pinned[1], pinned[0], SMALL, tmp_path, seed=1)
    publish_day(tmp_path / "lake", CONTRACT, FIRST, [r for r in world([], range(4)) if r["kind"] != "log"])
    with pytest.raises(loop.TrainingError, match="no observed pair"):
        main(create(tmp_path / "lake", "none", "retriever_examples", (FIRST, FIRST)), None, SMALL, tmp_path, seed=1)
    with pytest.raises(ValueError, match=r"share is 0.6, in \[0, 0.5\].*"):
        Config(share=0.6)
