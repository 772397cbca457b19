"""How well a model ranks days that it has not seen, beside popularity and, on the simulator, beside the planted chances."""

# R requests, N items of all batches
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import torch
from torch import Tensor

from training.hhsft.batches import FEATURES, LABELS, PROVENANCE
from training.hhsft.config import DOMAINS
from training.hhsft.model import Model, p_click, p_pay
from training.loader import to_device
from training.loop import TrainingError, mixed_precision
from training.metrics import auc, calibration, gauc, hit_rate, mrr

IDS = ("request_id", "items.item_id")
POPULARITY, PRICE, USER = "items.item_clicks", "items.item_price", "user_hash"


def columns(with_truth: bool) -> list[str]:
    """Columns that an evaluation needs."""
    return [*FEATURES, *LABELS, *PROVENANCE, *(IDS if with_truth else ())]


def evaluate(model: Model, batches: Iterable[Mapping[str, Any]], truth: Path | None = None) -> dict[str, dict[str, dict[str, Any]]]:
    """Measures by set of rows, then by who gives the score: the model, popularity of the item, price (the lowest first).

    `search`: exposed rows of search with native labels, the paper's test. `candidates`: all samples of search, credited labels.
    `rec`, `shop`: pseudo-requests. `truth`: folder of the simulator's planted truth; `oracle` knows the chance of each click,
    `oracle_without_position` what it is once the item is looked at, which is the most that a ranker can know.
    """
    rows = scored(model, batches)
    is_search_N = (rows["domain"] == 1) & ~rows["is_pseudo"]
    scores = {"model": rows["p_click"], "popularity": rows["popularity"], "price": rows["price"]}
    sets = {"search": (is_search_N & rows["is_exposed"], "y_click_native"), "candidates": (is_search_N, "y_click")}
    sets |= {name: ((rows["domain"] == n) & rows["is_pseudo"], "y_click") for n, name in enumerate(DOMAINS[1:], start=2)}
    found = {name: {who: measures(rows, is_in_N, score, label) for who, score in scores.items()} for name, (is_in_N, label) in sets.items()}
    for name, (is_in_N, label) in sets.items():
        found[name]["model"]["calibration"] = calibration(rows["p_click"][is_in_N], rows[label][is_in_N])
    found["candidates"]["model"]["auc_pay"] = auc(rows["p_pay"][is_search_N], rows["y_pay"][is_search_N])
    if truth is not None:
        planted = planted_scores(truth, rows)
        is_known_N = sets["search"][0] & ~planted["oracle"].isnan()
        found["search"] |= {who: measures(rows, is_known_N, score, "y_click_native") for who, score in planted.items()}
    return found


def measures(rows: Mapping[str, Tensor], is_in_N: Tensor, score_N: Tensor, label: str) -> dict[str, Any]:
    """How a score orders some of the rows."""
    scores, labels, requests, users = (values[is_in_N] for values in (score_N, rows[label], rows["request"], rows["user"]))
    return {
        "rows": len(labels),
        "requests": len(requests.unique()),
        "positives": int(labels.sum()),
        "auc": auc(scores, labels),
        "gauc": gauc(scores, labels, requests),
        "gauc_user": gauc(scores, labels, users),
        "hr@5": hit_rate(scores, labels, requests, k=5),
        "mrr": mrr(scores, labels, requests),
    }


@torch.no_grad()
def scored(model: Model, batches: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """A row for each item of all batches: request (numbered), user, domain, labels, scores; and its ids where batches have them."""
    device = next(model.parameters()).device
    model.eval()
    parts, ids, num_requests = [], [], 0
    for batch in batches:
        with mixed_precision(device):
            logits_N2 = model(to_device({name: batch[name] for name in (*FEATURES, "request_of_item")}, device)).cpu()
        request_of_item_N = batch["request_of_item"]
        of_request = {name: batch[column][request_of_item_N] for name, column in _OF_REQUEST.items()}
        of_item = {name.removeprefix("items."): batch[name] for name in (*LABELS, *PROVENANCE) if name.startswith("items.")}
        chances = {
            "p_click": p_click(logits_N2),
            "p_pay": p_pay(logits_N2),
            "popularity": batch[POPULARITY].float(),
            "price": -batch[PRICE].float(),
        }
        parts.append({"request": request_of_item_N + num_requests} | of_request | of_item | chances)
        num_requests += len(batch["domain_id"])
        if IDS[0] in batch:
            ids += [(batch[IDS[0]][r], item) for r, item in zip(request_of_item_N.tolist(), batch[IDS[1]], strict=True)]
    if not num_requests:
        raise TrainingError("there is no request to evaluate on; name later days that are published")
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]} | {"ids": ids}


_OF_REQUEST = {"domain": "domain_id", "is_pseudo": "is_pseudo", "user": USER}


def planted_scores(truth: Path, rows: Mapping[str, Any]) -> dict[str, Tensor]:
    """The simulator's chances for each row, NaN where it has none: of an item that was not shown."""
    requests, items = zip(*rows["ids"], strict=True)
    wanted = pa.table({"request_id": requests, "item_id": items, "row": range(len(items))})
    is_ours = pc.field("request_id").isin(wanted["request_id"].unique()) & pc.field("p_click").is_valid()
    try:
        known = ds.dataset(truth / "candidates", format="parquet").to_table(["request_id", "item_id", "p_click", "preference"], is_ours)
    except (OSError, pa.ArrowInvalid) as error:
        raise TrainingError(
            f"{truth} is no folder of planted truth ({error}); give what `sluice ingest simulator` had as --truth"
        ) from error
    once = known.group_by(["request_id", "item_id"]).aggregate([("p_click", "max"), ("preference", "max")])
    found = wanted.join(once, ["request_id", "item_id"]).sort_by("row")
    if found["p_click_max"].null_count == len(found):
        raise TrainingError(f"{truth} knows none of the {len(found)} rows; give the truth of this very lake")
    columns = {"oracle": "p_click_max", "oracle_without_position": "preference_max"}
    return {who: torch.from_numpy(found[column].to_numpy().copy()) for who, column in columns.items()}
