"""Baselines on the same tokens, from x_NTD to h_Nd as HHFI: DLRM's dot products with an MLP, and RankMixer."""

# N items, T tokens, D their width, M width of a token in RankMixer, a multiple of T
import torch
from torch import Tensor, nn

from training.hhsft.config import Config
from training.hhsft.layers import PerToken


class Dlrm(nn.Module):
    """All tokens and the dot products of their pairs, through an MLP.

    Source: DLRM (arXiv 1906.00091); its bottom MLPs are those of the tokens.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        t = config.num_tokens
        self.register_buffer("pairs_2P", torch.triu_indices(t, t, offset=1), persistent=False)
        d_in = t * config.d_H + t * (t - 1) // 2
        self.mlp = nn.Sequential(
            nn.Linear(d_in, 2 * config.d), nn.ReLU(), nn.Linear(2 * config.d, config.d), nn.ReLU(), nn.Linear(config.d, config.d)
        )

    def forward(self, x_NTD: Tensor) -> Tensor:
        dots_NTT = x_NTD @ x_NTD.transpose(1, 2) / x_NTD.shape[-1]
        return self.mlp(torch.cat([x_NTD.flatten(1), dots_NTT[:, self.pairs_2P[0], self.pairs_2P[1]]], dim=-1))


class Mixer(nn.Module):
    """Mixes heads across tokens without parameters, then a feed-forward for each token; residual and LayerNorm after both."""

    def __init__(self, num_tokens: int, d: int, ratio: int) -> None:
        super().__init__()
        self.num_tokens = num_tokens
        self.norms = nn.ModuleList([nn.LayerNorm(d), nn.LayerNorm(d)])
        self.ffn = nn.Sequential(PerToken(num_tokens, d, ratio * d), nn.GELU(), PerToken(num_tokens, ratio * d, d))

    def forward(self, x_NTM: Tensor) -> Tensor:
        mixed_NTM = x_NTM.unflatten(-1, (self.num_tokens, -1)).transpose(1, 2).flatten(2)  # head h of all tokens is token h
        x_NTM = self.norms[0](x_NTM + mixed_NTM)
        return self.norms[1](x_NTM + self.ffn(x_NTM))


class RankMixer(nn.Module):
    """Layers of token mixing and feed-forwards per token, then the mean token.

    Source: RankMixer (arXiv 2507.15551), without its sparse experts. As many heads as tokens ask for a width that they divide: tokens
    are projected to the next such one.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        t = config.num_tokens
        wide = t * -(-config.d_H // t)
        self.enter = PerToken(t, config.d_H, wide)
        self.layers = nn.Sequential(*(Mixer(t, wide, config.ffn_ratio) for _ in range(config.num_mixer)))
        self.leave = nn.Linear(wide, config.d)

    def forward(self, x_NTD: Tensor) -> Tensor:
        return self.leave(self.layers(self.enter(x_NTD)).mean(1))
