"""The loss of HHSFT: clicks and pays, by domain."""

# N items
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.hhsft.config import DOMAINS


def loss(model: nn.Module, batch: Mapping[str, Any]) -> Tensor:
    """L_search + 0.5 L_rec + 0.5 L_shop, each the weighted mean over the domain's samples of BCE(click) + BCE(pay), 0 without samples."""
    logits_N2 = model(batch)
    losses_N = bce_click(logits_N2, batch["items.y_click"]) + bce_pay(logits_N2, batch["items.y_pay"])
    weight_N = batch["items.weight"].to(losses_N.dtype)
    domain_N = batch["domain_id"].long()[batch["request_of_item"]] - 1
    of_domain_KN = domain_N == torch.arange(len(DOMAINS), device=domain_N.device)[:, None]
    weights_KN = of_domain_KN * weight_N
    means_K = (weights_KN @ losses_N) / weights_KN.sum(1).clamp(min=torch.finfo(losses_N.dtype).tiny)
    return (means_K * means_K.new_tensor(model.config.domain_weights)).sum()


def bce_click(logits_N2: Tensor, y_N: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits_N2[:, 0], y_N.to(logits_N2.dtype), reduction="none")


def bce_pay(logits_N2: Tensor, y_N: Tensor) -> Tensor:
    """Cross-entropy of p_pay = p_click * p_pay|click, over the entire space.

    With logits a, b: log p = ls(a) + ls(b) and log(1 - p) = log p + log(e^-a + e^-b + e^-(a + b)), ls the logarithm of the sigmoid.
    """
    a_N, b_N = logits_N2.unbind(-1)
    log_p_N = F.logsigmoid(logits_N2).sum(-1)
    log_rest_N = log_p_N + torch.logsumexp(torch.stack([-a_N, -b_N, -a_N - b_N]), dim=0)
    y_N = y_N.to(logits_N2.dtype)
    return -(y_N * log_p_N + (1 - y_N) * log_rest_N)
