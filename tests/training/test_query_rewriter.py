"""A tiny language model learns to rewrite in a planted world: h3 is what titles call p3. SFT, then GRPO, on a CPU, with no download."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tokenizers.processors import TemplateProcessing

from features.generated import ANSWERED, instruction, parts, replies_of_model, request
from schemas.items import CONTRACT as ITEMS
from schemas.query_rewriter_examples import CONTRACT, NUM_REWRITES
from tests.jobs.published import item, publish_day
from tests.training.examples import FIRST
from tests.training.rewriting import COLOURS, KINDS_OF_ITEM, tiny_model, world
from training import loop
from training.manifest import ManifestError, create
from training.query_rewriter import Config, Judge, fit_grpo, fit_sft, main, opened, read, replies, tiny, trained, with_lora
from training.rewrite_rewards import Worth

pytestmark = pytest.mark.slow  # one training of a minute's worth of steps, four short ones
QUERIES = KINDS_OF_ITEM * COLOURS
SETTINGS = replace(tiny(), worth=Worth(found=12, least_found=2, least_titles=2))
RUN = {"seed": 3, "device": torch.device("cpu")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.set_num_threads(1)
    return tmp_path_factory.mktemp("rewriter")


@pytest.fixture(scope="module")
def pinned(folder):
    rows = world()
    publish_day(folder / "lake", CONTRACT, FIRST, rows[: len(rows) // 2], rows[len(rows) // 2 :])
    publish_day(folder / "lake", CONTRACT, FIRST + timedelta(days=1), rows[::-1])
    return [create(folder / "lake", f"day-{n}", CONTRACT.name, (FIRST + timedelta(days=n),) * 2) for n in range(2)]


@pytest.fixture(scope="module")
def model(folder):
    return tiny_model(folder / "model")


@pytest.fixture(scope="module")
def report(folder, pinned, model):
    return main(pinned[0], model, SETTINGS, folder / "out", seed=3, device="cpu")


def weights(folder):
    return load_file(Path(folder) / "model.safetensors")


def differ(a, b):
    return any(not torch.equal(value, weights(b)[name]) for name, value in weights(a).items())


def test_replies_are_learnt_and_then_what_they_are_worth(report):
    sft, grpo, metrics = report["sft"], report["grpo"], report["metrics"]
    assert report["rows"] == {"sft": QUERIES - 7, "grpo": QUERIES - 7, "held_out": 7, "catalogue": QUERIES * 3}
    assert sft["loss"]["last"] < 0.3 * sft["loss"]["first"] and sft["steps"] == SETTINGS.sft_epochs * -(-(QUERIES - 7) // 8)
    assert grpo["reward"]["last"] > grpo["reward"]["first"] + 0.1 and 0 < grpo["kl"]["first"] < grpo["kl"]["last"]
    chance = 0.9 * 2 / 3 / KINDS_OF_ITEM + 1 / 3 / COLOURS  # a product and a colour drawn at random
    given, learnt, rewarded = (metrics[stage]["relevance"] for stage in ("given", "sft", "grpo"))  # of queries that were not learnt
    assert learnt > max(2 * chance, given + 0.1) and rewarded > max(2 * chance, given + 0.1)


def test_what_comes_out_is_a_model_for_the_rewriter(folder, report, pinned):
    assert differ(folder / "out", folder / "out" / "sft") and differ(folder / "out" / "sft", folder / "model")
    rows = read(pinned[0], 3).held_out
    said = replies_of_model(str(folder / "out"), [row["query_norm"] for row in rows], NUM_REWRITES, 4)
    assert [reply.status for reply in said] == [ANSWERED] * 7
    assert [reply.text for reply in said] == [text.removeprefix("1: ") for text in answers(folder / "out", rows)]
    assert sum(reply.text.count(f"p{row['query_norm'][1]} ") > 0 for reply, row in zip(said, rows, strict=True)) >= 4  # chance: 1 in 6


def answers(path, rows):
    model, tokenizer = opened(str(path), torch.device("cpu"), "auto")
    return replies(model, tokenizer, [row["prompt"] for row in rows], 4)


def test_a_model_without_a_chat_form_is_asked_in_the_plain_lines_of_the_rewriter(model, pinned):
    tokenizer = opened(model, torch.device("cpu"), "auto")[1]
    prompt = read(pinned[0], 3).grpo[0]["prompt"]
    asked = tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
    assert asked == f"{instruction(NUM_REWRITES)}\n{request(['h0 c0'])}\n"
    said = [*prompt, {"role": "assistant", "content": "1: p0"}]
    assert tokenizer.apply_chat_template(said, tokenize=False) == f"{asked}1: p0<eos>"


def test_a_model_with_a_chat_form_is_asked_and_taught_in_it(tmp_path, model, pinned):
    given, tokenizer = opened(model, RUN["device"], "auto")
    form = "{% for m in messages %}{{ m['content'] }} | {{ eos_token if m['role'] == 'assistant' }}{% endfor %}"
    tokenizer.chat_template = form + "{{ '1: ' if add_generation_prompt }}"
    given.save_pretrained(tmp_path / "chat")
    tokenizer.save_pretrained(tmp_path / "chat")
    given, tokenizer = opened(str(tmp_path / "chat"), RUN["device"], torch.float32)
    rows = read(pinned[0], 3).sft[:8]
    queries = [row["query_norm"] for row in rows]
    said = replies_of_model(str(tmp_path / "chat"), queries, NUM_REWRITES, 8)
    assert [parts(text, 1)[0][1] for text in replies(given, tokenizer, [row["prompt"] for row in rows], 8)] == [r.text for r in said]
    trainer = fit_sft(given, tokenizer, [row | {"completion": said_by("p0 c0")} for row in rows], SETTINGS, tmp_path / "checkpoints", **RUN)
    batch = next(iter(trainer.get_train_dataloader()))
    learnt = [tokenizer.decode(ids[labels >= 0]) for ids, labels in zip(batch["input_ids"], batch["labels"], strict=True)]
    assert learnt == ["p0 c0 | <eos>"] * 8  # the form's own 1: is part of what is asked
    assert tokenizer.decode(batch["input_ids"][0]).startswith(f"{instruction(NUM_REWRITES)} | 1: h")


def said_by(text):
    return [{"role": "assistant", "content": text}]


def test_a_token_that_begins_each_text_begins_the_plain_form_too(tmp_path, model, pinned):
    given, tokenizer = opened(model, RUN["device"], "auto")
    tokenizer.bos_token, tokenizer.chat_template = "<eos>", None
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<eos> $A", special_tokens=[("<eos>", 2)])
    given.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    again = opened(str(tmp_path), RUN["device"], "auto")[1]
    asked = again.apply_chat_template(read(pinned[0], 3).grpo[0]["prompt"], add_generation_prompt=True, return_dict=True)["input_ids"]
    assert asked == tokenizer(f"{instruction(NUM_REWRITES)}\n{request(['h0 c0'])}\n")["input_ids"] and asked[0] == 2 != asked[1]


def test_a_finished_run_is_not_trained_again_and_another_one_is_refused(folder, pinned, model, report):
    before = (folder / "out" / "model.safetensors").stat().st_mtime_ns
    assert main(pinned[0], model, SETTINGS, folder / "out", seed=3, device="cpu") == report
    assert (folder / "out" / "model.safetensors").stat().st_mtime_ns == before
    assert not list((folder / "out").rglob("checkpoint*"))
    with pytest.raises(loop.TrainingError, match="holds another run: seed was 3, is 4"):
        main(pinned[0], model, SETTINGS, folder / "out", seed=4, device="cpu")


def test_examples_do_not_depend_on_the_order_of_rows_and_files(pinned):
    one, other = (read(of, 3) for of in pinned)
    assert one == other and {row["query_norm"] for row in one.sft} == {row["query_norm"] for row in one.grpo}
    assert {row["query_norm"] for row in one.held_out}.isdisjoint(row["query_norm"] for row in one.sft)
    assert read(pinned[0], 4).held_out != one.held_out


def test_the_same_seed_gives_the_same_weights_also_after_a_kill(tmp_path, pinned, model):
    settings = replace(SETTINGS, sft_epochs=2, checkpoint_steps=4)
    rows = read(pinned[0], 3).sft

    def made(name, dies_at=None):
        given, tokenizer = opened(model, RUN["device"], torch.float32)
        trainer = fit_sft(given, tokenizer, rows, settings, tmp_path / name / "checkpoints", **RUN)
        step, done = trainer.training_step, []

        def dying(*args, **more):
            done.append(1)
            if len(done) == dies_at:
                raise KeyboardInterrupt
            return step(*args, **more)

        trainer.training_step = dying
        trained(trainer, tokenizer, tmp_path / name, torch.float32)

    made("whole")
    with pytest.raises(KeyboardInterrupt):
        made("killed", dies_at=7)
    made("killed")
    assert not differ(tmp_path / "whole", tmp_path / "killed")


def test_lora_leaves_whole_weights_and_the_same_seed_the_same_ones(tmp_path, folder, report, pinned, model):
    settings, examples = with_lora(replace(SETTINGS, grpo_epochs=1, grpo_lr=1e-3), 4), read(pinned[0], 3)
    judge = Judge([r["title_words"] for r in examples.catalogue], [r["item_id"] for r in examples.catalogue], settings.worth)
    start = str(folder / "out" / "sft")
    for name in ("one", "other"):
        tokenizer = opened(start, RUN["device"], "auto")[1]
        trainer = fit_grpo(start, tokenizer, examples.grpo[:16], judge, settings, tmp_path / name / "checkpoints", **RUN)
        trained(trainer, tokenizer, tmp_path / name, torch.float32)
    assert weights(tmp_path / "one").keys() == weights(start).keys()
    assert differ(tmp_path / "one", start) and not differ(tmp_path / "one", tmp_path / "other")


def test_what_cannot_be_trained_on_is_told(tmp_path, folder, pinned, model):
    both = create(folder / "lake", "both", CONTRACT.name, (FIRST, FIRST + timedelta(days=1)))
    with pytest.raises(loop.TrainingError, match="has 2 days, and each day is a whole training set: pin one"):
        main(both, model, SETTINGS, tmp_path, seed=3)
    publish_day(tmp_path / "lake", ITEMS, FIRST, [item("i1")])
    with pytest.raises(loop.TrainingError, match="manifest items is of items, not query_rewriter_examples"):
        main(create(tmp_path / "lake", "items", "items", (FIRST, FIRST)), model, SETTINGS, tmp_path, seed=3)
    for wrong in (tmp_path, tmp_path / "absent"):
        with pytest.raises(loop.TrainingError, match=f"{wrong} holds no causal language model .*; give its folder with --model"):
            main(pinned[0], str(wrong), SETTINGS, tmp_path, seed=3)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(loop.TrainingError, match=f"{tmp_path} holds no causal language model"):
        opened(str(tmp_path), RUN["device"], "auto")
    rows = [row for row in world() if row["kind"] != "sft"]
    publish_day(tmp_path / "lake", CONTRACT, FIRST, rows)
    of = create(tmp_path / "lake", "no-replies", CONTRACT.name, (FIRST, FIRST))
    with pytest.raises(loop.TrainingError, match="manifest no-replies has no row of kind sft"):
        main(of, model, SETTINGS, tmp_path / "out", seed=3)
    Path(of.root, of.files[0].path).unlink()
    with pytest.raises(ManifestError, match="does not hold any more"):
        main(of, model, SETTINGS, tmp_path / "out", seed=3)
    with pytest.raises(ValueError, match="replies_per_query is 1, at least 2"):
        Config(replies_per_query=1)
