"""What HHSFT reads of its table: columns by name, and which samples and labels of a batch a stage of ES3 learns from."""

# N items, M of them kept
from typing import Any

import torch
from torch import Tensor

from schemas.hhsft_examples import ITEM_FEATURES, REQUEST_FEATURES
from training.loader import Ragged

FEATURES = (*(f.name for f in REQUEST_FEATURES), *(f"items.{f.name}" for f in ITEM_FEATURES))
LABELS = ("items.y_click", "items.y_pay", "items.weight")
PROVENANCE = ("is_pseudo", "items.is_exposed", "items.y_click_native")
"""Columns that choose samples and labels; no model reads them."""


def columns(stage: str) -> list[str]:
    """Columns that training on a stage needs."""
    return [*FEATURES, *LABELS, *(() if stage == "entire_space" else PROVENANCE)]


def of_stage(batch: dict[str, Any], stage: str) -> dict[str, Any]:
    """The batch with the samples and labels of a stage; requests stay, with no items where none is left."""
    if stage == "entire_space":
        return batch
    is_kept_N = ~batch["is_pseudo"][batch["request_of_item"]]
    if stage == "exposed":
        is_kept_N = is_kept_N & batch["items.is_exposed"]
    of_items = {name: _kept(v, is_kept_N) for name, v in batch.items() if name == "request_of_item" or name.startswith("items.")}
    if stage in ("exposed", "unexposed"):
        native_M = of_items["items.y_click_native"]
        of_items |= {"items.y_click": native_M, "items.y_pay": of_items["items.y_pay"] * native_M}
    return batch | of_items


def _kept(values: Tensor | Ragged, is_kept_N: Tensor) -> Tensor | Ragged:
    if isinstance(values, Tensor):
        return values[is_kept_N]
    lengths_N = values.offsets.diff()
    offsets_M = torch.cat([values.offsets[:1], lengths_N[is_kept_N].cumsum(0)])
    return Ragged(values.values[torch.repeat_interleave(is_kept_N, lengths_N)], offsets_M)
