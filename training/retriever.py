"""Two-tower retrieval of items for a query: score(q, i) = cos(f(q), g(i)) / tau, learnt from observed and synthetic pairs.

Formula: a text is x = sum of rarity(t) e(t) over its tokens t, of length 1; f(q) = x + MLP_query(x), g(i) = x + MLP_item(x), at length 1.
Loss of a pair: -log softmax over its item, the items of the batch, hard negatives and items drawn from the catalogue, less those that are
known to be right for the query; mean weighted by the pairs' weights. A batch holds a set share of synthetic pairs beside observed ones.
Paper: Synthetic Data Powers Product Retrieval (arXiv 2602.23620), whose retriever is a large language model; it says of the loss only
that the data alone gives the gain. Departs: a bag of tokens that trains on a CPU in a minute; weights, shares and sizes are our choice.
Reads retriever_examples, one day of it, whole: 16 bytes a pair, and the tokens of each different query and item once.
Baseline: the same model before its first step, which compares rare tokens in common.
"""

# B pairs of a batch, C candidates (B, then hard, then drawn), P pairs, Q queries, I items, T tokens, D width
import argparse
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from schemas.contract import ContractError
from schemas.retriever_examples import KINDS, TOKENS
from training import loop, manifest
from training.loader import Batch, Loader, Ragged, to_device
from training.manifest import Manifest, identity
from training.retrieval import by_query, keys, means, nearest

TABLE = "retriever_examples"
COLUMNS = ("kind", "query_hash", "item_hash", "query_tokens", "item_tokens", "weight", "segment", "hardness", "hard_negatives.item_hash")
REPORT = "report.json"
ROWS_AT_ONCE = 8192  # read and encoded; decides nothing but memory
LOG, SYNTHETIC, EVALUATION, CATALOGUE = range(len(KINDS))
SEGMENTS = ("head", "torso", "tail")


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything that decides the weights, beside the data and the seed."""

    share: float = 0.1
    """Share of synthetic pairs in a batch, in [0, 0.5]: they come on top of the observed ones. Without effect where there are none."""
    pairs_per_batch: int = 1024
    """Observed pairs of a batch."""
    num_hard: int = 1
    """Hard negatives for each pair, of those that its query has."""
    num_drawn: int = 1024
    """Items of a batch drawn from the catalogue, negatives of all its pairs."""
    tau: float = 0.05
    """Temperature, > 0."""
    table_rows: int = TOKENS
    """Rows of the embedding table; larger ids are folded into it."""
    d: int = 128
    """Width of an embedding and of what the towers give."""
    d_hidden: int = 256
    """Width inside the towers."""
    lr_sparse: float = 0.05
    """Learning rate of Adagrad, for embeddings."""
    lr_dense: float = 1e-3
    """Learning rate of AdamW, for the towers."""
    weight_decay: float = 0.01
    """Of AdamW."""
    epochs: int = 5
    """Passes over the observed pairs."""

    def __post_init__(self) -> None:
        least = {"pairs_per_batch": 1, "num_hard": 0, "num_drawn": 0, "table_rows": 2, "d": 1, "d_hidden": 1, "epochs": 1}
        problems = [f"{name} is {getattr(self, name)}, at least {low}" for name, low in least.items() if getattr(self, name) < low]
        problems += (
            [f"share is {self.share}, in [0, 0.5]: synthetic pairs never outweigh observed ones"] if not 0 <= self.share <= 0.5 else []
        )
        problems += [f"tau is {self.tau}, above 0"] if self.tau <= 0 else []
        if problems:
            raise ValueError("retriever: " + "; ".join(problems))

    @property
    def synthetic_per_batch(self) -> int:
        return round(self.pairs_per_batch * self.share / (1 - self.share))


def tiny() -> Config:
    """For tests and small lakes."""
    return Config(pairs_per_batch=128, num_drawn=256, d=64, d_hidden=64, table_rows=1 << 16, epochs=10)


def base() -> Config:
    return Config()


def large() -> Config:
    return Config(d=512, d_hidden=1024, pairs_per_batch=8192, num_drawn=8192)


SIZES = {"tiny": tiny, "base": base, "large": large}


class Examples(NamedTuple):
    """A day of the table. Queries and items are numbered by their hashes in ascending order, so that no order of files shows."""

    item_hashes: Tensor
    query_tokens: Ragged
    item_tokens: Ragged
    pairs: dict[str, Tensor]
    """query_P, item_P, weight_P and kind_P of what is learnt from and evaluated on."""
    hard: Ragged
    """Items that each query should not find."""
    shelf: Tensor
    """Items of the catalogue, ascending."""
    segments: list[str | None]
    hardness: list[str | None]
    """Of each query."""

    def of_kind(self, kind: int) -> dict[str, Tensor]:
        is_in_P = self.pairs["kind"] == kind
        return {name: values[is_in_P] for name, values in self.pairs.items()}


def read(of: Manifest) -> Examples:
    """The examples of a manifest of one day."""
    parts = [_with_negatives(part) for part in Loader(of, COLUMNS, requests_per_batch=ROWS_AT_ONCE, seed=0).at(0)]
    rows = {name: torch.cat([part[name] for part in parts]) for name in ("kind", "query_hash", "item_hash", "weight")}
    texts = {name: [text for part in parts for text in part[name]] for name in ("segment", "hardness")}
    query_tokens, item_tokens, hard = (joined([part[name] for part in parts]) for name in ("query_tokens", "item_tokens", "negatives"))
    pair_N = (rows["kind"] != CATALOGUE).nonzero()[:, 0]
    _, first_Q, query_P = distinct(rows["query_hash"][pair_N])
    hashes_I, first_I, item_N = distinct(rows["item_hash"])
    first_Q = pair_N[first_Q]
    pairs = {"query": query_P, "item": item_N[pair_N], "weight": rows["weight"][pair_N], "kind": rows["kind"][pair_N]}
    order_P = (keys(query_P, pairs["item"], len(hashes_I)) * len(KINDS) + pairs["kind"]).argsort()
    return Examples(
        hashes_I,
        taken(query_tokens, first_Q),
        taken(item_tokens, first_I),
        {name: values[order_P] for name, values in pairs.items()},
        _places(taken(hard, first_Q), hashes_I),
        item_N[rows["kind"] == CATALOGUE].sort().values,
        *([texts[name][n] for n in first_Q.tolist()] for name in ("segment", "hardness")),
    )


def _with_negatives(part: Batch) -> dict[str, Any]:
    """The batch with kinds as numbers, and negatives as a list of each row."""
    counts_N = torch.bincount(part["request_of_item"], minlength=len(part["kind"]))
    negatives = Ragged(part["hard_negatives.item_hash"], torch.cat([torch.zeros(1, dtype=torch.int64), counts_N.cumsum(0)]))
    return {**part, "kind": torch.tensor([KINDS.index(kind) for kind in part["kind"]]), "negatives": negatives}


def _places(hashes: Ragged, known_I: Tensor) -> Ragged:
    """Places of items by hash; -1 for an item that no row holds: its own was taken out by a gate."""
    at = torch.searchsorted(known_I, hashes.values).clamp(max=len(known_I) - 1)
    return Ragged(torch.where(known_I[at] == hashes.values, at, -1), hashes.offsets)


def distinct(values_N: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Different values ascending, where each stands first, and the number of each row's value among them."""
    found, first, number_N = np.unique(values_N.numpy(), return_index=True, return_inverse=True)
    return torch.from_numpy(found), torch.from_numpy(first), torch.from_numpy(number_N)


def joined(parts: list[Ragged]) -> Ragged:
    lengths = torch.cat([part.offsets.diff() for part in parts])
    return Ragged(torch.cat([part.values for part in parts]), torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)]))


def taken(lists: Ragged, rows: Tensor) -> Ragged:
    """These of the lists, in this order."""
    starts, lengths = lists.offsets[rows], lists.offsets.diff()[rows]
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
    at = torch.arange(int(offsets[-1])) + torch.repeat_interleave(starts - offsets[:-1], lengths)
    return Ragged(lists.values[at], offsets)


class Model(nn.Module):
    """One table of embeddings for both towers: at its first step it compares rare tokens in common, which it then learns to better."""

    def __init__(self, config: Config, rarity_T: Tensor) -> None:
        super().__init__()
        self.config = config
        self.tokens = nn.EmbeddingBag(config.table_rows, config.d, mode="sum", sparse=True)
        nn.init.normal_(self.tokens.weight, std=config.d**-0.5)
        self.register_buffer("rarity_T", rarity_T)
        self.queries, self.items = (self._tower() for _ in range(2))

    def _tower(self) -> nn.Module:
        last = nn.Linear(self.config.d_hidden, self.config.d)
        nn.init.zeros_(last.weight)
        return nn.Sequential(nn.Linear(self.config.d, self.config.d_hidden), nn.SiLU(), last)

    def encode(self, texts: Ragged, tower: nn.Module) -> Tensor:
        """vectors of length 1, one for each list of tokens."""
        ids = texts.values.long() % self.config.table_rows
        x_ND = F.normalize(self.tokens(ids, texts.offsets[:-1], per_sample_weights=self.rarity_T[ids]), dim=-1)
        return F.normalize(x_ND + tower(x_ND), dim=-1)

    def forward(self, batch: Mapping[str, Any]) -> Tensor:
        """scores_BC: cosine of each query with each candidate, over tau."""
        return self.encode(batch["queries"], self.queries) @ self.encode(batch["candidates"], self.items).T / self.config.tau


def rarity(examples: Examples, rows: int) -> Tensor:
    """log((1 + items) / (1 + items with it)) of each token in the catalogue, at least 0.1: as in TF-IDF, in rows of the embedding table."""
    titles = taken(examples.item_tokens, examples.shelf)
    counts = torch.bincount(titles.values.long() % rows, minlength=rows)
    return torch.log((1 + len(examples.shelf)) / (1.0 + counts)).clamp(min=0.1)


class Batches:
    """Batches by (seed, epoch, step) alone: observed pairs each once an epoch, synthetic ones in turns, hard and drawn negatives."""

    def __init__(self, examples: Examples, config: Config, seed: int) -> None:
        self.examples, self.config, self.seed = examples, config, seed
        self.log, self.synthetic = (examples.of_kind(kind) for kind in (LOG, SYNTHETIC))
        self.num_items = len(examples.item_tokens.offsets) - 1
        learnt = [keys(pairs["query"], pairs["item"], self.num_items) for pairs in (self.log, self.synthetic)]
        self.known = torch.cat(learnt).unique()
        self.num_steps = -(-len(self.log["query"]) // config.pairs_per_batch)

    def at(self, epoch: int, step: int) -> Iterator[dict[str, Any]]:
        order_P = self._shuffled(len(self.log["query"]), 0, epoch)
        for now in range(step, self.num_steps):
            mine = order_P[now * self.config.pairs_per_batch : (now + 1) * self.config.pairs_per_batch]
            theirs = self._in_turn(epoch * self.num_steps + now)
            pairs = {name: torch.cat([values[mine], self.synthetic[name][theirs]]) for name, values in self.log.items()}
            yield self._batch(pairs, np.random.default_rng([self.seed, 2, epoch, now]))

    def _shuffled(self, number: int, what: int, turn: int) -> Tensor:
        return torch.from_numpy(np.random.default_rng([self.seed, what, turn]).permutation(number))

    def _in_turn(self, step: int) -> Tensor:
        """Which synthetic pairs a step takes: all of them, shuffled, then all again shuffled anew."""
        number, wanted = len(self.synthetic["query"]), self.config.synthetic_per_batch
        if not number or not wanted:
            return torch.empty(0, dtype=torch.int64)
        turns = range(step * wanted // number, ((step + 1) * wanted - 1) // number + 1)
        first = step * wanted - turns[0] * number
        return torch.cat([self._shuffled(number, 1, turn) for turn in turns])[first : first + wanted]

    def _batch(self, pairs: Mapping[str, Tensor], draw: np.random.Generator) -> dict[str, Any]:
        hard = self._hard(pairs["query"], draw)
        shelf = self.examples.shelf
        drawn = shelf[torch.from_numpy(draw.integers(len(shelf), size=self.config.num_drawn if len(shelf) else 0))]
        item_C = torch.cat([pairs["item"], hard, drawn])
        asked_BC = keys(pairs["query"][:, None], item_C, self.num_items)
        at_BC = torch.searchsorted(self.known, asked_BC).clamp(max=len(self.known) - 1)
        is_known_BC = self.known[at_BC] == asked_BC
        is_known_BC.fill_diagonal_(False)  # its own item
        return {
            "queries": taken(self.examples.query_tokens, pairs["query"]),
            "candidates": taken(self.examples.item_tokens, item_C),
            "weight_B": pairs["weight"],
            "is_known_BC": is_known_BC,
        }

    def _hard(self, query_B: Tensor, draw: np.random.Generator) -> Tensor:
        """num_hard negatives of each query that has some."""
        query_N = query_B.repeat(self.config.num_hard)
        lists = self.examples.hard
        lengths_N = lists.offsets.diff()[query_N]
        place_N = (torch.from_numpy(draw.random(len(query_N))) * lengths_N).long()
        has_N = lengths_N > 0
        found = lists.values[(lists.offsets[query_N] + place_N)[has_N]]
        return found[found >= 0]


def loss(model: nn.Module, batch: Batch) -> Tensor:
    """Mean over B, weighted, of -log softmax at each pair's own item; items known to be right for its query are left out."""
    scores_BC = model(batch).float().masked_fill(batch["is_known_BC"], -torch.inf)
    own_B = torch.arange(len(scores_BC), device=scores_BC.device)
    weight_B = batch["weight_B"].float()
    return (F.cross_entropy(scores_BC, own_B, reduction="none") * weight_B).sum() / weight_B.sum()


@torch.no_grad()
def encoded(model: Model, texts: Ragged, tower: nn.Module) -> Tensor:
    """Vectors of many texts, on the CPU."""
    model.eval()
    device = next(model.parameters()).device
    number = len(texts.offsets) - 1
    parts = [to_device({"texts": taken(texts, rows)}, device)["texts"] for rows in torch.arange(number).split(ROWS_AT_ONCE)]
    return torch.cat([model.encode(part, tower).float().cpu() for part in parts]) if parts else torch.empty(0, model.config.d)


def found_by(model: Model, asked: Ragged, examples: Examples) -> Tensor:
    """places_QK: items of the catalogue that the model finds for each query, best first, numbered as in the examples."""
    shelf_ID = encoded(model, taken(examples.item_tokens, examples.shelf), model.items)
    return examples.shelf[nearest(encoded(model, asked, model.queries), shelf_ID)]


def evaluate(model: Model, examples: Examples, start: Model | None = None) -> dict[str, dict[str, dict[str, float | None]]]:
    """Measures on evaluation queries against what users clicked, by segment and hardness; `lexical` is the model before its first step."""
    asked = examples.of_kind(EVALUATION)
    queries_E, _, query_T = distinct(asked["query"])
    segments, hardness = ([values[n] for n in queries_E.tolist()] for values in (examples.segments, examples.hardness))
    groups = {"all": [True] * len(queries_E)} | {name: [s == name for s in segments] for name in SEGMENTS}
    groups |= {name: [h == name for h in hardness] for name in sorted({h for h in hardness if h})}
    texts, num_items = taken(examples.query_tokens, queries_E), len(examples.item_tokens.offsets) - 1
    gain_T = torch.ones(len(query_T))
    found = {}
    for who, of in {"model": model, "lexical": start}.items():
        if of is not None and len(queries_E):
            found[who] = means(by_query(found_by(of, texts, examples), query_T, asked["item"], gain_T, num_items, good=1.0), groups)
    return found


def fit(
    examples: Examples, settings: Config, out: Path, *, seed: int, device: torch.device, facts: Mapping[str, Any]
) -> tuple[Model, Model]:
    """The trained model, resumed from what lies in `out`, and the model as it was before its first step."""
    torch.manual_seed(seed)
    model = Model(settings, rarity(examples, settings.table_rows))
    start = Model(settings, model.rarity_T)
    start.load_state_dict(model.state_dict())
    model = model.to(device)
    batches = Batches(examples, settings, seed)
    if not batches.num_steps:
        raise loop.TrainingError("retriever: there is no observed pair to learn from; its weights would come from synthetic ones alone")
    steppers = loop.optimizers(model, lr_sparse=settings.lr_sparse, lr_dense=settings.lr_dense, weight_decay=settings.weight_decay)
    plan = loop.Plan(out, batches.num_steps, settings.epochs, max(batches.num_steps, 50), facts)
    loop.fit(model, loss, batches.at, steppers, plan)
    return model, start


def main(train: Manifest, test: Manifest | None, settings: Config, out: Path, *, seed: int, device: str = "auto") -> dict[str, Any]:
    """Fit, or resume what lies in `out`; evaluate on evaluation queries of `test`, or of `train`; write and return the report."""
    _check(train, test)
    place, began = loop.device_named(device), time.monotonic()
    examples = read(train)
    facts = {"config": asdict(settings), "seed": seed, "manifest": train.name, "identity": identity(train)}
    model, start = fit(examples, settings, out, seed=seed, device=place, facts=facts)
    seconds, measured_on = time.monotonic() - began, test or train
    counts = torch.bincount(examples.pairs["kind"], minlength=len(KINDS)).tolist()
    report = facts | {
        "parameters": {
            "dense": sum(p.numel() for p in model.parameters()) - model.tokens.weight.numel(),
            "embeddings": model.tokens.weight.numel(),
        },
        "pairs": dict(zip(KINDS, counts, strict=True)) | {"catalogue": len(examples.shelf)},
        "steps": settings.epochs * -(-counts[LOG] // settings.pairs_per_batch),
        "device": str(place),
        "fit_s": round(seconds, 1),
        "test": measured_on.name,
        "test_identity": identity(measured_on),
        "metrics": evaluate(model, read(test) if test else examples, start.to(place)),
    }
    (out / REPORT).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return report


def load(out: Path) -> Model:
    """The model of a checkpoint, on the CPU, ready to encode."""
    found = loop.read_checkpoint(out)
    if found is None:
        raise loop.TrainingError(f"there is no checkpoint in {out}; train first")
    model = Model(Config(**found["identity"]["config"]), found["model"]["rarity_T"])
    model.load_state_dict(found["model"])
    return model.eval()


def _check(train: Manifest, test: Manifest | None) -> None:
    given = [m for m in (train, test) if m]
    faults = [f"manifest {m.name} is of {m.table}, not {TABLE}" for m in given if m.table != TABLE]
    faults += [
        f"manifest {m.name} has {len(m.days)} days, and each day is a whole training set: pin one" for m in given if len(m.days) != 1
    ]
    faults += [f"manifest {train.name} holds no row"] if not train.rows else []
    if test and test.days and train.days and test.days[0] <= train.days[-1]:
        faults.append(f"manifest {test.name} is of {test.days[0]}, not after {train.days[-1]}, which is trained on")
    if faults:
        raise loop.TrainingError("retriever: " + "; ".join(faults))


def arg_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training.retriever", description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--lake", required=True, help="root of all tables")
    parser.add_argument("--manifest", required=True, help="name of the manifest to train on")
    parser.add_argument("--test", help="name of the manifest to evaluate on; default: evaluation queries of the one trained on")
    parser.add_argument("--out", required=True, type=Path, help="folder of the checkpoint and the report")
    parser.add_argument("--size", default="tiny", choices=SIZES)
    parser.add_argument("--share", type=float, help="share of synthetic pairs in a batch")
    parser.add_argument("--seed", type=int, default=17)
    parser.add_argument("--device", default="auto")
    return parser


if __name__ == "__main__":
    given = arg_parser().parse_args()
    try:
        pinned = [manifest.load(given.lake, name) if name else None for name in (given.manifest, given.test)]
        chosen = SIZES[given.size]()
        chosen = chosen if given.share is None else replace(chosen, share=given.share)
        print(json.dumps(main(*pinned, chosen, given.out, seed=given.seed, device=given.device), indent=1))
    except ContractError as error:
        raise SystemExit(f"failed: {error}") from error
