"""The loss: cross-entropies worked by hand, over the entire space, weighted by row and by domain."""

import math

import pytest
import torch

from tests.training.batches import random_batch
from training.hhsft.loss import bce_click, bce_pay, loss


class Given(torch.nn.Module):
    """Answers with given logits."""

    class config:  # noqa: N801
        domain_weights = (1.0, 0.5, 0.5)

    def __init__(self, logits_N2):
        super().__init__()
        self.logits_N2 = logits_N2

    def forward(self, batch):
        return self.logits_N2


def batch(domains, request_of_item, click, pay, weight):
    columns = {"domain_id": domains, "request_of_item": request_of_item, "items.y_click": click, "items.y_pay": pay}
    return {name: torch.tensor(v) for name, v in columns.items()} | {"items.weight": torch.tensor(weight, dtype=torch.float64)}


def test_pay_is_learnt_over_the_entire_space():
    a, b = 0.7, -1.2
    p = 1 / (1 + math.exp(-a)) / (1 + math.exp(-b))
    found = bce_pay(torch.tensor([[a, b], [a, b]]), torch.tensor([1, 0]))
    assert found.tolist() == pytest.approx([-math.log(p), -math.log(1 - p)], rel=1e-5)


def test_pay_is_exact_where_chances_round_to_0_or_1():
    logits_N2 = torch.tensor([[60.0, 50.0], [-60.0, -50.0], [60.0, -50.0], [-200.0, 200.0]], requires_grad=True)
    for y in (0, 1):
        found = bce_pay(logits_N2, torch.full((4,), y))
        a, b = logits_N2.detach().double().unbind(-1)
        log_p = torch.nn.functional.logsigmoid(a) + torch.nn.functional.logsigmoid(b)
        expected = -log_p if y else -(torch.log(-torch.expm1(log_p)))
        torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-4)
        (gradient,) = torch.autograd.grad(found.sum(), logits_N2)
        assert gradient.isfinite().all()


def test_a_domain_is_a_weighted_mean_of_its_samples():
    logits_N2 = torch.tensor([[1.0, 0.0], [-1.0, 0.5], [2.0, 1.0], [0.0, 0.0]])
    given = batch([1, 3], [0, 0, 0, 1], [1, 0, 1, 0], [0, 0, 1, 0], [1.0, 3.0, 1.0, 2.0])
    each = bce_click(logits_N2, given["items.y_click"]) + bce_pay(logits_N2, given["items.y_pay"])
    expected = (each[0] + 3 * each[1] + each[2]) / 5 + 0.5 * each[3]  # search, no rec, half of shop
    assert loss(Given(logits_N2), given).item() == pytest.approx(expected.item(), rel=1e-6)


def test_without_samples_there_is_nothing_to_lose():
    assert loss(Given(torch.zeros(0, 2)), random_batch(0)).item() == 0.0
