"""A causal language model that rewrites rare queries: it learns replies that found something (SFT), then what replies are worth (GRPO).

SFT: cross-entropy over the reply's tokens. GRPO: clipped ratio, token by token, with a KL term to the model after SFT; each token's
advantage is that of the rewrite that it is a part of (training/rewrite_rewards.py), so that a bad rewrite does not hurt its neighbours.
Paper: Synthetic Data Powers Product Retrieval (arXiv 2602.23620), whose algorithm and figures are not known; figures are those of the
notes on it where they have one, else our choice. By TRL; LoRA by peft where a rank is given.
Reads query_rewriter_examples, one day of it, whole. Baseline: the model as it was given, on queries of which nothing is learnt.
The folder that comes out is a model for `--model` of query_rewrites. A model without a chat form gets that of plain lines, which the
rewriter uses anyhow.
"""

# B replies of a batch, T tokens of a reply
import argparse
import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.dataset as ds
import torch
from accelerate.utils import gather_object
from datasets import Dataset
from datasets import disable_progress_bars as disable_bars_of_datasets
from peft import LoraConfig
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PrinterCallback, TrainerCallback
from transformers.trainer_utils import get_last_checkpoint
from transformers.utils.logging import disable_progress_bar as disable_bars_of_models
from trl import GRPOConfig, GRPOTrainer, SFTConfig, SFTTrainer

from features.generated import TOKENS_PER_REWRITE
from schemas.address import filesystem
from schemas.contract import ContractError
from schemas.query_rewriter_examples import KINDS, NUM_REWRITES
from training import loop, manifest
from training.manifest import Manifest, identity
from training.rewrite_rewards import Judge, Judged, Worth, advantages, credit

log = logging.getLogger("training")
TABLE = "query_rewriter_examples"
REPORT, RUN, SFT, STEPS = "report.json", "run.json", "sft", "checkpoints"
QUERY = ("query_norm", "terms", "excluded", "good_items")
"""What rewards read of a query, beside its prompt."""
PLAIN = "{% for m in messages %}{{ m['content'] }}{{ eos_token if m['role'] == 'assistant' else '\n' }}{% endfor %}"
MOST_HELD_OUT, HELD_OUT_SHARE = 200, 10
"""Queries that are measured and not learnt: one in ten, at most 200."""
LOGGED = 10  # steps between two lines of the log
REPLY_TOKENS = NUM_REWRITES * TOKENS_PER_REWRITE


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything that decides the weights, beside the model given, the data and the seed."""

    lora_rank: int = 0
    """Rank of LoRA's matrices in all linear layers; 0 trains all weights."""
    sft_epochs: int = 2
    sft_lr: float = 1e-5
    """Of LREM's cold start; ten times as much with LoRA."""
    sft_batch: int = 32
    """Replies of a step."""
    grpo_epochs: int = 1
    """Passes over the queries."""
    grpo_lr: float = 1e-6
    """As LREM and AIGQ have it; ten times as much with LoRA."""
    queries_per_step: int = 16
    replies_per_query: int = 8
    """Of a group, at least 2."""
    temperature: float = 1.0
    """Of sampled replies."""
    clip: float = 0.2
    """Of the ratio of chances, on both sides."""
    kl: float = 0.01
    """Weight of the divergence from the model after SFT."""
    rows_at_once: int = 8
    """Replies on the device at once; decides memory and, but for the last digits, nothing else."""
    checkpoint_steps: int = 100
    worth: Worth = field(default_factory=Worth)

    def __post_init__(self) -> None:
        least = {"lora_rank": 0, "sft_epochs": 1, "grpo_epochs": 1, "sft_batch": 1, "queries_per_step": 1, "replies_per_query": 2}
        problems = [f"{name} is {getattr(self, name)}, at least {low}" for name, low in least.items() if getattr(self, name) < low]
        if self.replies_per_query % self.rows_at_once and self.rows_at_once % self.replies_per_query:
            problems.append(
                f"rows_at_once is {self.rows_at_once}; it divides replies_per_query ({self.replies_per_query}) or is a multiple"
            )
        if problems:
            raise ValueError("query_rewriter: " + "; ".join(problems))


def tiny() -> Config:
    """For models of a few thousand weights, trained from nothing, in tests."""
    return Config(sft_epochs=20, sft_lr=4e-3, sft_batch=8, grpo_epochs=4, grpo_lr=2e-3, kl=0.05, queries_per_step=8, rows_at_once=64)


def base() -> Config:
    """For language models."""
    return Config()


SIZES = {"tiny": tiny, "base": base}


def with_lora(config: Config, rank: int) -> Config:
    """LoRA of this rank, at ten times the learning rates."""
    return replace(config, lora_rank=rank, sft_lr=10 * config.sft_lr, grpo_lr=10 * config.grpo_lr)


@dataclass(frozen=True)
class Examples:
    """A day of the table, in the order of its keys."""

    sft: list[dict[str, Any]]
    grpo: list[dict[str, Any]]
    held_out: list[dict[str, Any]]
    """Rows of kind grpo of queries that are in neither of the other two."""
    catalogue: list[dict[str, Any]]


def read(of: Manifest, seed: int) -> Examples:
    """The examples of a manifest of one day; held out are the first queries in a seeded order. Raises ContractError where files changed."""
    if faults := manifest.verify(of):
        raise manifest.ManifestError(f"manifest {of.name} does not hold any more:\n  " + "\n  ".join(faults))
    fs, root = filesystem(of.root)
    table = ds.dataset([f"{root}/{file.path}" for file in of.files], filesystem=fs).to_table()
    columns = {"sft": ("query_norm", "prompt", "completion"), "grpo": ("prompt", *QUERY), "catalogue": ("item_id", "title_words")}
    sft, grpo, catalogue = (
        table.filter(pc.equal(table["kind"], kind)).sort_by([("query_norm", "ascending"), ("item_id", "ascending")]).select(columns[kind])
        for kind in KINDS
    )
    order = sorted(grpo["query_norm"].to_pylist(), key=lambda query: hashlib.sha256(f"{seed} {query}".encode()).digest())
    unseen = set(order[: min(MOST_HELD_OUT, len(order) // HELD_OUT_SHARE)])
    learnt = [row for row in sft.to_pylist() if row["query_norm"] not in unseen]
    parts = ([row for row in grpo.to_pylist() if (row["query_norm"] in unseen) == is_held] for is_held in (False, True))
    return Examples(learnt, *parts, catalogue.to_pylist())


def opened(folder: str, device: torch.device, dtype: torch.dtype | str) -> tuple[Any, Any]:
    """Model and tokenizer of a folder. Raises TrainingError that names it where it holds none."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left", local_files_only=True)
        model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, dtype=dtype)
    except (OSError, ValueError) as error:
        raise loop.TrainingError(
            f"{folder} holds no causal language model that transformers reads: {str(error).splitlines()[0]}; give its folder with --model"
        ) from error
    if not tokenizer.chat_template:
        own = tokenizer("")["input_ids"]
        begins = tokenizer.bos_token_id is not None and own[:1] == [tokenizer.bos_token_id]
        tokenizer.chat_template = ("{{ bos_token }}" if begins else "") + PLAIN
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return model.to(device), tokenizer


@torch.inference_mode()
def replies(model: Any, tokenizer: Any, prompts: Sequence[list[dict[str, str]]], at_once: int) -> list[str]:
    """Greedy replies, as the rewriter takes them."""
    texts: list[str] = []
    model.eval()
    for start in range(0, len(prompts), at_once):
        asked = tokenizer.apply_chat_template(
            prompts[start : start + at_once], add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt", padding=True
        ).to(model.device)
        said = model.generate(**asked, do_sample=False, num_beams=1, max_new_tokens=REPLY_TOKENS, pad_token_id=tokenizer.pad_token_id)
        texts += tokenizer.batch_decode(said[:, asked["input_ids"].shape[1] :], skip_special_tokens=True)
    return texts


def evaluate(model: Any, tokenizer: Any, rows: Sequence[Mapping[str, Any]], judge: Judge, at_once: int) -> dict[str, float]:
    """Means over the queries of what their greedy replies are worth, and of `rewrites`, how many they say."""
    texts = replies(model, tokenizer, [row["prompt"] for row in rows], at_once)
    found = [judge(text, row) for text, row in zip(texts, rows, strict=True)]
    measured = {name: [value(one) for one in found] for name, value in MEASURES.items()} | {"rewrites": [len(r.worth) for r in found]}
    return {name: sum(values) / len(values) for name, values in measured.items() if values}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


MEASURES: dict[str, Callable[[Judged], float]] = {
    "relevance": lambda reply: _mean(reply.relevance),
    "alignment": lambda reply: _mean(reply.alignment),
    "diversity": lambda reply: reply.diversity,
    "form": lambda reply: reply.form,
}


class CreditTrainer(GRPOTrainer):
    """GRPO whose advantages are those of the rewrite that a token is a part of, which TRL takes as a matrix instead of a column."""

    def __init__(self, judge: Judge, **given: Any) -> None:
        self.judge = judge
        super().__init__(reward_funcs=[self._reward(name, value) for name, value in MEASURES.items()], **given)

    def _reward(self, name: str, value: Callable[[Judged], float]) -> Callable[..., list[float]]:
        def reward(completion_ids: list[list[int]], **columns: Any) -> list[float]:
            rows = [{column: columns[column][n] for column in QUERY} for n in range(len(completion_ids))]
            return [value(self.judge(text, row)) for text, row in zip(self._texts(completion_ids), rows, strict=True)]

        reward.__name__ = name
        return reward

    def _texts(self, ids: Sequence[Sequence[int]]) -> list[str]:
        return self.processing_class.batch_decode(ids, skip_special_tokens=True)

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        made = super()._generate_and_score_completions(inputs)
        ids = [row[is_said.bool()].tolist() for row, is_said in zip(made["completion_ids"], made["completion_mask"], strict=True)]
        said = [self.judge(text, row) for text, row in zip(self._texts(ids), inputs, strict=True)]
        every = advantages(gather_object(said), self.num_generations, self.judge.worth.of_reply)  # a group may lie on several devices
        mine = every[self.accelerator.process_index * len(said) :][: len(said)]
        rows = [
            torch.tensor(credit([len(text) for text in self._texts([tokens[: n + 1] for n in range(len(tokens))])], reply.spans, *own))
            for tokens, reply, own in zip(ids, said, mine, strict=True)
        ]
        width = made["completion_ids"].shape[1]
        padded_BT = pad_sequence([*rows, torch.zeros(width)], batch_first=True)[:-1]
        return made | {"advantages": padded_BT.to(made["completion_ids"].device)}


def _common(config: Config, folder: Path, seed: int, device: torch.device, lr: float, epochs: int, rows: int) -> dict[str, Any]:
    """Settings of both trainers: `rows` in a step, `rows_at_once` of them at once."""
    at_once = min(config.rows_at_once, rows)
    return {
        "output_dir": str(folder),
        "seed": seed,
        "learning_rate": lr,
        "num_train_epochs": epochs,
        "per_device_train_batch_size": at_once,
        "gradient_accumulation_steps": max(1, rows // at_once),
        "lr_scheduler_type": "cosine",
        "warmup_steps": 0.03,
        "bf16": device.type == "cuda",
        "use_cpu": device.type == "cpu",
        "activation_checkpointing": device.type == "cuda",
        "logging_steps": 1,
        "save_steps": config.checkpoint_steps,
        "save_total_limit": 1,
        "report_to": "none",
        "disable_tqdm": True,
    }


def _lora(config: Config) -> LoraConfig | None:
    rank = config.lora_rank
    return LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM") if rank else None


def fit_sft(model: Any, tokenizer: Any, rows: Sequence[Mapping[str, Any]], config: Config, folder: Path, **run: Any) -> Any:
    settings = SFTConfig(**_common(config, folder, lr=config.sft_lr, epochs=config.sft_epochs, rows=config.sft_batch, **run))
    given = Dataset.from_list([{name: row[name] for name in ("prompt", "completion")} for row in rows])
    return SFTTrainer(model=model, args=settings, train_dataset=given, processing_class=tokenizer, peft_config=_lora(config))


def fit_grpo(model: str, tokenizer: Any, rows: Sequence[Mapping[str, Any]], judge: Judge, config: Config, folder: Path, **run: Any) -> Any:
    group, queries = config.replies_per_query, min(config.queries_per_step, len(rows))
    common = _common(config, folder, lr=config.grpo_lr, epochs=config.grpo_epochs, rows=group * queries, **run)
    settings = GRPOConfig(
        **common,
        num_generations=group,
        max_completion_length=REPLY_TOKENS,
        temperature=config.temperature,
        reward_weights=[config.worth.relevance, config.worth.alignment, config.worth.diversity, config.worth.form],
        epsilon=config.clip,
        beta=config.kl,
        loss_type="grpo",
        model_init_kwargs={"dtype": _dtype(config, run["device"]), "local_files_only": True},
    )
    given = Dataset.from_list([dict(row) for row in rows])
    return CreditTrainer(judge, model=model, args=settings, train_dataset=given, processing_class=tokenizer, peft_config=_lora(config))


def _dtype(config: Config, device: torch.device) -> torch.dtype:
    """Weights that are trained lie in float32; on a GPU those that LoRA leaves as they are, in bfloat16."""
    return torch.bfloat16 if config.lora_rank and device.type == "cuda" else torch.float32


class Told(TrainerCallback):
    """Steps as lines of the log: TRL's own go to standard output, which belongs to results."""

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any], **_: Any) -> None:
        shown = ", ".join(f"{name} {logs[name]:.4f}" for name in ("loss", "reward", "kl") if name in logs)
        if shown and (state.global_step % LOGGED == 0 or state.global_step == state.max_steps):
            log.info("step %d of %d: %s", state.global_step, state.max_steps, shown)


def trained(trainer: Any, tokenizer: Any, folder: Path, dtype: torch.dtype) -> tuple[Any, dict[str, Any]]:
    """The model at the end of its training, resumed from its last checkpoint and saved in `folder`, and how loss and reward went."""
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(Told)
    checkpoints = Path(trainer.args.output_dir)
    trainer.train(resume_from_checkpoint=get_last_checkpoint(checkpoints) if checkpoints.is_dir() else None)
    model = trainer.accelerator.unwrap_model(trainer.model)
    model = model.merge_and_unload() if hasattr(model, "merge_and_unload") else model
    model.to(dtype).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    shutil.rmtree(checkpoints)
    history = trainer.state.log_history
    curves = {name: [float(line[name]) for line in history if line.get(name) is not None] for name in ("loss", "reward", "kl")}
    return model, {"steps": trainer.state.global_step} | {name: ends(values) for name, values in curves.items() if values}


def ends(values: Sequence[float]) -> dict[str, float]:
    """Means of the first tenth and of the last one, of at least one value each."""
    num = max(1, len(values) // 10)
    return {"first": _mean(values[:num]), "last": _mean(values[-num:])}


def main(train: Manifest, model: str, settings: Config, out: Path, *, seed: int, device: str = "auto") -> dict[str, Any]:
    """SFT, then GRPO, or resume what lies in `out`; write the model and the report there, and return the report."""
    disable_bars_of_datasets()
    disable_bars_of_models()
    place, examples = loop.device_named(device), read(_checked(train), seed)
    facts = {"config": asdict(settings), "seed": seed, "manifest": train.name, "identity": identity(train), "model": digest_of(model)}
    _claim(out, facts)
    counts = {name: len(rows) for name, rows in vars(examples).items()}
    if absent := [name for name in ("sft", "grpo", "catalogue") if not counts[name]]:
        raise loop.TrainingError(f"query_rewriter: manifest {train.name} has no row of kind {', '.join(absent)} to learn from")
    judge = Judge([row["title_words"] for row in examples.catalogue], [row["item_id"] for row in examples.catalogue], settings.worth)
    run = {"seed": seed, "device": place}

    def sft() -> dict[str, Any]:
        given, tokenizer = opened(model, place, _dtype(settings, place))
        before = evaluate(given, tokenizer, examples.held_out, judge, settings.rows_at_once)
        trainer = fit_sft(given, tokenizer, examples.sft, settings, out / SFT / STEPS, **run)
        made, report = trained(trainer, tokenizer, out / SFT, dtype_of(model))
        return {"given": before, "sft": evaluate(made, tokenizer, examples.held_out, judge, settings.rows_at_once), "report": report}

    def grpo() -> dict[str, Any]:
        tokenizer = opened(str(out / SFT), place, "auto")[1]
        trainer = fit_grpo(str(out / SFT), tokenizer, examples.grpo, judge, settings, out / STEPS, **run)
        made, report = trained(trainer, tokenizer, out, dtype_of(model))
        after = evaluate(made, tokenizer, examples.held_out, judge, settings.rows_at_once)
        metrics = {"given": first["given"], "sft": first["sft"], "grpo": after}
        return facts | {"rows": counts, "device": str(place), "sft": first["report"], "grpo": report, "metrics": metrics}

    first = _once(out / SFT / REPORT, sft)
    return _once(out / REPORT, grpo)


def _once(path: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What the file holds, or what is made and written there now, with the seconds that it took."""
    if path.exists():
        return json.loads(path.read_text(encoding="utf-8"))
    began = time.monotonic()
    made = make()
    made |= {"fit_s": round(time.monotonic() - began, 1)}
    path.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    return made


def _claim(out: Path, facts: Mapping[str, Any]) -> None:
    """Say in the folder which run it holds. Raises TrainingError where it holds another."""
    path, ours = out / RUN, json.loads(json.dumps(facts))
    loop.check_same_run(out, json.loads(path.read_text(encoding="utf-8")) if path.exists() else ours, ours)
    out.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(ours, indent=1) + "\n", encoding="utf-8")


def digest_of(folder: str) -> str:
    """Hex digest of names and sizes of a model's files. Raises TrainingError where it is no folder of a model."""
    if not Path(folder, "config.json").is_file():
        raise loop.TrainingError(
            f"{folder} holds no causal language model that transformers reads: no config.json; give its folder with --model"
        )
    files = sorted((file.name, file.stat().st_size) for file in Path(folder).iterdir() if file.is_file())
    return hashlib.sha256(json.dumps(files).encode()).hexdigest()[:16]


def dtype_of(folder: str) -> torch.dtype:
    """Type of the weights of the model in a folder; what comes of it is saved alike."""
    return AutoConfig.from_pretrained(folder, local_files_only=True).dtype or torch.float32


def _checked(train: Manifest) -> Manifest:
    faults = [f"manifest {train.name} is of {train.table}, not {TABLE}"] if train.table != TABLE else []
    if len(train.days) != 1:
        faults.append(f"manifest {train.name} has {len(train.days)} days, and each day is a whole training set: pin one")
    if faults:
        raise loop.TrainingError("query_rewriter: " + "; ".join(faults))
    return train


def arg_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training.query_rewriter", description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--lake", required=True, help="root of all tables")
    parser.add_argument("--manifest", required=True, help="name of the manifest to train on, of one day")
    parser.add_argument("--model", required=True, help="folder of a causal language model")
    parser.add_argument("--out", required=True, type=Path, help="folder of the model that comes out, and of the report")
    parser.add_argument("--size", default="base", choices=SIZES)
    parser.add_argument("--lora", type=int, default=0, help="rank of LoRA; 0 trains all weights")
    parser.add_argument("--seed", type=int, default=17)
    parser.add_argument("--device", default="auto")
    return parser


if __name__ == "__main__":
    given = arg_parser().parse_args()
    try:
        chosen = with_lora(SIZES[given.size](), given.lora) if given.lora else SIZES[given.size]()
        pinned = manifest.load(given.lake, given.manifest)
        print(json.dumps(main(pinned, given.model, chosen, given.out, seed=given.seed, device=given.device), indent=1))
    except ContractError as error:
        raise SystemExit(f"failed: {error}") from error
