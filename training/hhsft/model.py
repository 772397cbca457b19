"""HHSFT: heterogeneous and global attention over tokens, experts and gates by domain, a head for each domain."""

# N items, T tokens, D their width d_H, G their width d_G within GFA, K domains, d width of h; rows_K: for each domain, its rows of N
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from schemas.features import Feature
from schemas.hhsft_examples import ITEM_FEATURES, REQUEST_FEATURES
from training.hhsft.baselines import Dlrm, RankMixer
from training.hhsft.config import DOMAINS, Config
from training.hhsft.layers import PerToken, PerTokenFFN, SwiGLU, attend
from training.hhsft.tokens import Tokens, mlp


class HFA(nn.Module):
    """Attention in which each token has its own projections and its own feed-forward."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        t, d = config.num_tokens, config.d_H
        self.num_heads = config.num_heads
        self.norms = nn.ModuleList([nn.RMSNorm(d), nn.RMSNorm(d)])
        self.qkv = PerToken(t, d, 3 * d, bias=False)
        self.ffn = PerTokenFFN(t, d, config.ffn_ratio)

    def forward(self, x_NTD: Tensor) -> Tensor:
        x_NTD = x_NTD + attend(*self.qkv(self.norms[0](x_NTD)).chunk(3, dim=-1), self.num_heads)
        return x_NTD + self.ffn(self.norms[1](x_NTD))


class GFA(nn.Module):
    """Attention in which each token's query, key and value are projections of all tokens; then h_Nd of them all.

    The residual around it is a projection, since widths differ.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        t, wide = config.num_tokens, config.num_tokens * config.d_H
        self.num_tokens, self.num_heads = t, config.num_heads
        rank = config.low_rank if wide > config.low_rank_above else None
        self.norms = nn.ModuleList([nn.RMSNorm(wide), nn.RMSNorm(t * config.d_G)])
        self.qkv = nn.ModuleList([_composite(wide, t * config.d_G, rank) for _ in range(3)])
        self.ffn = SwiGLU(t * config.d_G, config.ffn_ratio * config.d, config.d)
        self.skip = nn.Linear(wide, config.d, bias=False)

    def forward(self, x_NTD: Tensor) -> Tensor:
        z_NZ = self.norms[0](x_NTD.flatten(1))
        g_NTG = attend(*(project(z_NZ).unflatten(-1, (self.num_tokens, -1)) for project in self.qkv), self.num_heads)
        return self.skip(z_NZ) + self.ffn(self.norms[1](g_NTG.flatten(1)))


def _composite(d_in: int, d_out: int, rank: int | None) -> nn.Module:
    if rank is None:
        return nn.Linear(d_in, d_out, bias=False)
    return nn.Sequential(nn.Linear(d_in, rank, bias=False), nn.Linear(rank, d_out, bias=False))


class HHFI(nn.Sequential):
    """x_NTD to h_Nd: layers of HFA, then one of GFA."""

    def __init__(self, config: Config) -> None:
        super().__init__(*(HFA(config) for _ in range(config.num_hfa)), GFA(config))


def by_domain(modules: nn.ModuleDict, x_Nd: Tensor, rows_K: Sequence[Tensor]) -> Tensor:
    """Each row through the module of its domain and no other: to the rest of them it does not exist, and gives no gradient."""
    parts = [module(x_Nd[rows_n]) for module, rows_n in zip(modules.values(), rows_K, strict=True)]
    return torch.cat(parts)[torch.argsort(torch.cat(list(rows_K)))]


class DREF(nn.Module):
    """e_Nd: what the shared expert and the domain's say of h, mixed by the domain's gate."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.shared = mlp(d, d, d)
        self.experts = nn.ModuleDict({domain: mlp(d, d, d) for domain in DOMAINS})
        self.gates = nn.ModuleDict({domain: mlp(d, d // 4, 2) for domain in DOMAINS})

    def forward(self, h_Nd: Tensor, rows_K: Sequence[Tensor]) -> Tensor:
        alphas_N2 = by_domain(self.gates, h_Nd, rows_K).softmax(dim=-1)
        return alphas_N2[:, :1] * self.shared(h_Nd) + alphas_N2[:, 1:] * by_domain(self.experts, h_Nd, rows_K)


class DAPGA(nn.Module):
    """o_Nd: attention of the own domain's view of e over all domains' views, gated by who asks and where."""

    def __init__(self, d: int, d_context: int) -> None:
        super().__init__()
        self.experts = nn.ModuleDict({domain: mlp(d, d, d) for domain in DOMAINS})
        self.gate = mlp(d_context, d, d)

    def forward(self, e_Nd: Tensor, context_NC: Tensor, domain_N: Tensor, rows_K: Sequence[Tensor]) -> Tensor:
        own_Nd = by_domain(self.experts, e_Nd, rows_K)
        with torch.no_grad():  # what the others say is read, not taught
            views_NKd = torch.stack([expert(e_Nd) for expert in self.experts.values()], dim=1)
        is_own_NK = domain_N[:, None] == torch.arange(len(DOMAINS), device=domain_N.device)
        views_NKd = torch.where(is_own_NK[:, :, None], own_Nd[:, None], views_NKd)
        shares_NK = ((own_Nd[:, None] * views_NKd).sum(-1) / math.sqrt(e_Nd.shape[-1])).softmax(dim=-1)
        return torch.sigmoid(self.gate(context_NC)) * (shares_NK[:, :, None] * views_NKd).sum(1)


class Model(nn.Module):
    """Logits of a batch's items. Without DREF and DAPGA, and so in every baseline, one head serves all domains."""

    def __init__(
        self, config: Config, request_features: Sequence[Feature] = REQUEST_FEATURES, item_features: Sequence[Feature] = ITEM_FEATURES
    ) -> None:
        super().__init__()
        self.config = config
        self.tokens = Tokens(config, request_features, item_features)
        self.interaction = {"rankmixer": RankMixer, "dlrm": Dlrm}.get(config.model, HHFI)(config)
        is_routed = config.model == "hhsft"
        self.dref = DREF(config.d) if is_routed and config.has_dref else None
        self.context = [n for n, group in enumerate(g for g, count in config.tokens for _ in range(count)) if group in ("user", "domain")]
        self.dapga = DAPGA(config.d, len(self.context) * config.d_H) if is_routed and config.has_dapga else None
        heads = DOMAINS if self.dref or self.dapga else ("all",)
        self.heads = nn.ModuleDict({name: mlp(config.d, config.d // 2, 2) for name in heads})

    def forward(self, batch: Mapping[str, Any]) -> Tensor:
        """logits_N2: of a click, and of a pay given a click."""
        x_NTD = self.tokens(batch)
        domain_N = batch["domain_id"].long()[batch["request_of_item"]] - 1
        rows_K = [(domain_N == k).nonzero()[:, 0] for k in range(len(DOMAINS))]
        e_Nd = self.interaction(x_NTD)
        if self.dref is not None:
            e_Nd = self.dref(e_Nd, rows_K)
        if self.dapga is not None:
            e_Nd = self.dapga(e_Nd, x_NTD[:, self.context].flatten(1), domain_N, rows_K)
        return (by_domain(self.heads, e_Nd, rows_K) if len(self.heads) > 1 else self.heads["all"](e_Nd)).float()


def p_click(logits_N2: Tensor) -> Tensor:
    return logits_N2[:, 0].sigmoid()


def p_pay(logits_N2: Tensor) -> Tensor:
    """Over the entire space: p_click times p_pay given a click."""
    return logits_N2.sigmoid().prod(-1)
