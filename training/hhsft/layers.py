"""Layers that HHSFT and its baselines share."""

# N items, T tokens, D and C widths in and out
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class PerToken(nn.Module):
    """A linear layer for each token by itself."""

    def __init__(self, num_tokens: int, d_in: int, d_out: int, *, bias: bool = True) -> None:
        super().__init__()
        bound = 1 / math.sqrt(d_in)  # as nn.Linear
        self.weight_TDC = nn.Parameter(torch.empty(num_tokens, d_in, d_out).uniform_(-bound, bound))
        self.bias_TC = nn.Parameter(torch.empty(num_tokens, d_out).uniform_(-bound, bound)) if bias else None

    def forward(self, x_NTD: Tensor) -> Tensor:
        y_NTC = torch.bmm(x_NTD.transpose(0, 1), self.weight_TDC).transpose(0, 1)
        return y_NTC if self.bias_TC is None else y_NTC + self.bias_TC


class PerTokenFFN(nn.Module):
    """SwiGLU for each token by itself."""

    def __init__(self, num_tokens: int, d: int, ratio: int) -> None:
        super().__init__()
        self.up = PerToken(num_tokens, d, 2 * ratio * d)
        self.down = PerToken(num_tokens, ratio * d, d)

    def forward(self, x_NTD: Tensor) -> Tensor:
        gate, value = self.up(x_NTD).chunk(2, dim=-1)
        return self.down(F.silu(gate) * value)


class SwiGLU(nn.Module):
    def __init__(self, d_in: int, d_hidden: int, d_out: int) -> None:
        super().__init__()
        self.up = nn.Linear(d_in, 2 * d_hidden)
        self.down = nn.Linear(d_hidden, d_out)

    def forward(self, x_ND: Tensor) -> Tensor:
        gate, value = self.up(x_ND).chunk(2, dim=-1)
        return self.down(F.silu(gate) * value)


def attend(q_NTD: Tensor, k_NTD: Tensor, v_NTD: Tensor, num_heads: int) -> Tensor:
    """Multi-head attention over the tokens: softmax(q k' / sqrt(d_head)) v, heads one after the other."""
    q, k, v = (part.unflatten(-1, (num_heads, -1)).transpose(1, 2) for part in (q_NTD, k_NTD, v_NTD))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
