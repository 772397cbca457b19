"""Queries with what people or a planted truth say of items, for measuring retrievers on them: two parquet files in a folder.

`questions.parquet`: query_norm, query_tokens, groups (names of the sets that it is in). `answers.parquet`: query_norm, item_hash
(xxhash64 of item_id), gain. Spark writes them, where text becomes tokens; nothing of them is ever learnt from.
"""

# Q questions, T answers, I items, K places of a list
import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.compute as pc
import pyarrow.dataset as ds
import torch
import torch.nn.functional as functional
from torch import Tensor

from training import loop
from training.manifest import Manifest, identity
from training.retrieval import LENGTH, by_query, first, means
from training.retriever import REPORT, Batches, Config, Examples, Model, fit, found_by, loss, rarity
from training.tensors import Ragged, tensors

QUESTIONS, ANSWERS = "questions.parquet", "answers.parquet"


class Questions(NamedTuple):
    names: list[str]
    tokens: Ragged
    groups: dict[str, list[bool]]
    query_T: Tensor
    hash_T: Tensor
    gain_T: Tensor
    good: float
    """Least gain of a good item."""


def read_questions(folder: Path, good: float) -> Questions:
    """The questions in the order of their names; groups in that of theirs, after `all`."""
    asked = ds.dataset(folder / QUESTIONS).to_table().sort_by("query_norm").combine_chunks()
    answers = ds.dataset(folder / ANSWERS).to_table(["query_norm", "item_hash", "gain"])
    place = pc.index_in(answers["query_norm"], asked["query_norm"].combine_chunks()).cast("int64")
    answers = answers.append_column("place", place).filter(pc.is_valid(place))
    answers = answers.sort_by([("place", "ascending"), ("item_hash", "ascending")]).combine_chunks()
    columns = tensors(answers, ["place", "item_hash", "gain"])
    lists = asked["groups"].to_pylist()
    names = sorted({name for of_query in lists for name in of_query})
    groups = {"all": [True] * len(asked)} | {name: [name in of_query for of_query in lists] for name in names}
    tokens = tensors(asked, ["query_tokens"])["query_tokens"]
    return Questions(asked["query_norm"].to_pylist(), tokens, groups, columns["place"], columns["item_hash"], columns["gain"], good)


def measured(model: Model, examples: Examples, questions: Questions) -> dict[str, dict[str, float | None]]:
    """Measures of what the model finds on the shelf, by group."""
    return measured_lists(found_by(model, questions.tokens, examples), examples, questions)


def truth_of(examples: Examples, questions: Questions) -> tuple[Tensor, Tensor, Tensor]:
    """query_T, item_T (places among the examples' items), gain_T of the answers about items on the shelf; others do not count."""
    at_T = torch.searchsorted(examples.item_hashes, questions.hash_T).clamp(max=len(examples.item_hashes) - 1)
    is_there_T = (examples.item_hashes[at_T] == questions.hash_T) & torch.isin(at_T, examples.shelf)
    return questions.query_T[is_there_T], at_T[is_there_T], questions.gain_T[is_there_T]


def lists_by(scores: Callable[[int], Tensor], examples: Examples, questions: Questions) -> tuple[Tensor, Tensor]:
    """places_QK that `scores` (of a query by its number, over the shelf) puts first: of the whole catalogue, and of judged items alone."""
    query_T, item_T, _ = truth_of(examples, questions)
    on_shelf_T = torch.searchsorted(examples.shelf, item_T)
    whole, judged = [], []
    for number in range(len(questions.names)):
        scores_I = scores(number)[None]
        own_M = on_shelf_T[query_T == number].sort().values
        whole.append(examples.shelf[first(scores_I, min(LENGTH, scores_I.shape[1]))[0]])
        kept_M = own_M[first(scores_I[:, own_M], min(LENGTH, len(own_M)))[0]] if len(own_M) else own_M
        judged.append(functional.pad(examples.shelf[kept_M], (0, LENGTH - len(kept_M)), value=-1))
    return torch.stack(whole), torch.stack(judged)


def measured_lists(places_QK: Tensor, examples: Examples, questions: Questions) -> dict[str, dict[str, float | None]]:
    """Measures of any lists of items by their places among the examples' items."""
    return means(by_query(places_QK, *truth_of(examples, questions), len(examples.item_hashes), questions.good), questions.groups)


def run(of: Manifest, examples: Examples, questions: Questions, settings: Config, out: Path, *, seed: int, device: str) -> dict[str, Any]:
    """The report of one training, measured on the questions; the one that lies in `out` where it is of the same rows and questions."""
    facts = {"config": asdict(settings), "seed": seed, "identity": identity(of), "questions": digest(questions)}
    path = out / REPORT
    held = json.loads(path.read_text()) if path.exists() else {}
    if {name: held.get(name) for name in facts} == json.loads(json.dumps(facts)):
        return held
    began = time.monotonic()
    model, start = fit(examples, settings, out, seed=seed, device=loop.device_named(device), facts=facts)
    report = facts | {"fit_s": round(time.monotonic() - began, 1)}
    report |= {"model": measured(model, examples, questions), "lexical": measured(start, examples, questions)}
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return report


def digest(questions: Questions) -> str:
    """Hex digest of all that is asked and answered."""
    parts = (questions.names, questions.groups, questions.good, *(t.tolist() for t in (*questions.tokens, *questions[3:6])))
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def seconds_of(examples: Examples, settings: Config, steps: int = 6) -> float:
    """What one training will take, from a few steps of it on this machine."""
    model, batches = Model(settings, rarity(examples, settings.table_rows)), Batches(examples, settings, 0)
    steppers = loop.optimizers(model, lr_sparse=settings.lr_sparse, lr_dense=settings.lr_dense, weight_decay=settings.weight_decay)
    began, done = time.monotonic(), 0
    for n, batch in enumerate(islice(batches.at(0, 0), steps)):
        loop.train_step(model, loss, batch, steppers, "trial")
        began, done = (time.monotonic(), 0) if n == 0 else (began, done + 1)  # the first step allocates
    return (time.monotonic() - began) / max(done, 1) * batches.num_steps * settings.epochs
