"""HHSFT and its baselines: no gradient crosses domains, a planted truth is recovered, and shuffled labels are not."""

import pytest
import torch
from torch.nn import functional as F

from tests.training.batches import random_batch
from training.hhsft.config import DOMAINS, MODELS, Config, base, config, large, tiny
from training.hhsft.layers import PerToken
from training.hhsft.loss import loss
from training.hhsft.model import GFA, HFA, Model, by_domain, p_click, p_pay
from training.loop import optimizers, train_step
from training.metrics import auc

torch.set_num_threads(1)


def model(seed=0, **changes):
    torch.manual_seed(seed)
    return Model(config("tiny", **({"table_rows": 1 << 10} | changes)))


def steppers(made):
    return optimizers(made, lr_sparse=made.config.lr_sparse, lr_dense=made.config.lr_dense, weight_decay=0.01)


@pytest.mark.parametrize("name", MODELS)
def test_two_finite_logits_for_each_item_and_none_for_no_request(name):
    made, batch = model(model=name), random_batch()
    logits_N2 = made(batch)
    assert logits_N2.shape == (len(batch["request_of_item"]), 2) and logits_N2.isfinite().all() and logits_N2.dtype == torch.float32
    nothing = loss(made, random_batch(0))
    assert nothing.item() == 0
    nothing.backward()
    assert all(p.grad is None or p.grad.abs().sum() == 0 for p in made.parameters())


@pytest.mark.parametrize("name", MODELS)
def test_same_seed_same_weights_after_training(name):
    ends = []
    for _ in range(2):
        made = model(seed=5, model=name)
        step = steppers(made)
        for n in range(3):
            train_step(made, loss, random_batch(seed=n), step, "")
        ends.append(made.state_dict())
    assert all(torch.equal(ends[0][key], ends[1][key]) for key in ends[0])
    other = model(seed=6, model=name).state_dict()
    assert any(not torch.equal(ends[0][key], other[key]) for key in other)


@pytest.mark.parametrize("name", MODELS)
def test_one_batch_can_be_overfit(name):
    made, batch = model(model=name), random_batch(12)
    step = steppers(made)
    losses = [train_step(made, loss, batch, step, "") for _ in range(60)]
    assert losses[-1] < 0.1 * losses[0]


@pytest.mark.parametrize("name", MODELS)
def test_saved_and_loaded_scores_are_equal(name, tmp_path):
    made, batch = model(model=name), random_batch()
    torch.save(made.state_dict(), tmp_path / "weights")
    again = model(seed=1, model=name)
    again.load_state_dict(torch.load(tmp_path / "weights"))
    assert torch.equal(again(batch), made(batch))


def moved_by(made, domains, *, of):
    """Parameters that belong to domain `of`, and the sum of their absolute gradients after a batch of `domains`."""
    made.zero_grad()
    loss(made, random_batch(9, domains)).backward()
    own = {name: p for name, p in made.named_parameters() if f".{of}." in name}
    return {name: 0.0 if p.grad is None else p.grad.abs().sum().item() for name, p in own.items()}


@pytest.mark.parametrize("switched", [{}, {"has_dref": False}, {"has_dapga": False}])
def test_no_gradient_crosses_domains(switched):
    """Exactly zero: a batch of one domain leaves experts, gates and heads of the others alone, and reaches all of its own."""
    made = model(**switched)
    for trained, domain in enumerate(DOMAINS, start=1):
        for of in DOMAINS:
            sums = moved_by(made, (trained,), of=of)
            parts = {name.rpartition(f".{of}.")[0] for name in sums}
            wanted = {"heads"} | ({"dref.experts", "dref.gates"} if made.dref else set()) | ({"dapga.experts"} if made.dapga else set())
            assert parts == wanted
            if of == domain:
                assert all(value > 0 for value in sums.values()), sums
            else:
                assert set(sums.values()) == {0.0}, sums


def test_what_all_domains_share_learns_from_each():
    made = model()
    for domain in (1, 2, 3):
        made.zero_grad()
        loss(made, random_batch(9, (domain,))).backward()
        for part in (made.dref.shared, made.dapga.gate, made.interaction, made.tokens.mlps, made.tokens.attention):
            assert all(p.grad.abs().sum() > 0 for p in part.parameters() if p is not made.tokens.attention.nothing)


def test_other_domains_are_read_by_attention_though_not_taught():
    made, batch = model(), random_batch(9, (1,))
    before = made(batch)
    with torch.no_grad():
        for weight in made.dapga.experts["rec"].parameters():
            weight.mul_(3)
    assert not torch.allclose(made(batch), before)
    before = made(batch)
    with torch.no_grad():  # hard routing: what else belongs to another domain is not even read
        for part in (made.dref.experts, made.dref.gates, made.heads):
            for weight in (*part["rec"].parameters(), *part["shop"].parameters()):
                weight.zero_()
    assert torch.equal(made(batch), before)


def test_each_row_goes_through_its_own_domain():
    modules = torch.nn.ModuleDict({name: torch.nn.Linear(1, 1, bias=False) for name in DOMAINS})
    for number, name in enumerate(DOMAINS, start=1):
        torch.nn.init.constant_(modules[name].weight, 10.0**number)
    rows = [torch.tensor([1, 4]), torch.tensor([], dtype=torch.int64), torch.tensor([0, 2, 3])]
    found = by_domain(modules, torch.tensor([[1.0], [2.0], [3.0], [4.0], [5.0]]), rows)
    assert found[:, 0].tolist() == [1000.0, 20.0, 3000.0, 4000.0, 50.0]


def test_each_token_has_attention_of_its_own():
    t, d = 15, 32
    made = HFA(tiny())
    assert made.qkv.weight_TDC.shape == (t, d, 3 * d)
    assert made.ffn.up.weight_TDC.shape == (t, d, 2 * 2 * d) and made.ffn.down.weight_TDC.shape == (t, 2 * d, d)
    layer, x_NTD = PerToken(3, 4, 5), torch.randn(2, 3, 4)
    for token in range(3):
        expected = x_NTD[:, token] @ layer.weight_TDC[token] + layer.bias_TC[token]
        torch.testing.assert_close(layer(x_NTD)[:, token], expected)


def test_composite_projections_are_of_low_rank_where_tokens_are_wide():
    """3 T^2 d_H d_G weights in full; above the limit 3 * 64 * (T d_H + T d_G)."""
    t, d_h, d_g = 15, 32, 16
    assert sum(p.numel() for p in GFA(tiny()).qkv.parameters()) == 3 * t * t * d_h * d_g
    wide = Config(d_H=512, d_G=128)
    assert sum(p.numel() for p in GFA(wide).qkv.parameters()) == 3 * 64 * (t * 512 + t * 128)
    assert GFA(wide)(torch.randn(2, t, 512)).shape == (2, wide.d)
    assert large().num_tokens * large().d_H <= large().low_rank_above < t * 512


def test_sizes_grow_and_bad_configurations_are_told():
    with torch.device("meta"):
        dense = [sum(p.numel() for n, p in Model(c()).named_parameters() if "embeddings" not in n) for c in (tiny, base, large)]
    assert 5 * dense[0] < dense[1] and 3 * dense[1] < dense[2]
    with pytest.raises(ValueError, match=r"model is 'x'.*d_H is 30, not a multiple of num_heads = 4"):
        Config(model="x", d_H=30)


def test_pays_are_never_likelier_than_clicks():
    logits_N2 = 5 * torch.randn(1000, 2, generator=torch.Generator().manual_seed(0))
    assert (p_pay(logits_N2) <= p_click(logits_N2)).all()
    torch.testing.assert_close(p_pay(logits_N2), p_click(logits_N2) * logits_N2[:, 1].sigmoid())


# --- planted truth


def planted(seed, *, shuffled=False):
    """A batch whose clicks have known logits: 3 where the item's category is among the user's behaviours, or is no more than twice his
    activity; else -3. Nothing else in it means anything.
    """
    batch = random_batch(48, (1,), seed=seed, longest=4)
    generator = torch.Generator().manual_seed(10_000 + seed)
    request = batch["request_of_item"]
    category = torch.randint(1, 9, (len(request),), generator=generator)
    activity = torch.randint(1, 5, (48,), generator=generator)
    sequence = torch.randint(1, 9, batch["seq_category"].values.shape, generator=generator)
    batch |= {"items.item_category": category, "user_activity": activity, "seq_category": batch["seq_category"]._replace(values=sequence)}
    lengths = batch["seq_category"].offsets.diff()
    seen_RC = torch.zeros(48, 9, dtype=torch.bool)
    seen_RC[torch.repeat_interleave(lengths), sequence] = True
    logit = torch.where((category <= 2 * activity[request]) | seen_RC[request, category], 3.0, -3.0)
    y = (torch.rand(len(request), generator=generator) < logit.sigmoid()).int()
    batch["items.y_click"] = y[torch.randperm(len(y), generator=generator)] if shuffled else y
    batch["items.y_pay"] = torch.zeros_like(y)
    return batch, logit, seen_RC[request, category]


log_loss = F.binary_cross_entropy_with_logits


def auc_of(scores, batches):
    return auc(torch.cat(scores), torch.cat([batch["items.y_click"] for batch, *_ in batches]))


def trained(name, steps, *, shuffled=False):
    made = model(model=name)
    step = steppers(made)
    for n in range(steps):
        train_step(made, loss, planted(n, shuffled=shuffled)[0], step, "")
    return made.requires_grad_(False)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_a_planted_truth_is_recovered_and_shuffled_labels_are_not(name):
    """Who knows the logits has AUC 0.95; who knows the best sum of a number for each value of each feature less. Of labels that mean
    nothing no model knows more than their rate: in log loss, since a slight order that it makes up has an AUC far from 0.5 by chance.
    """
    held_out = [planted(seed) for seed in range(900, 920)]
    oracle = auc_of([logit for _, logit, _ in held_out], held_out)
    additive = [2.0 * b["user_activity"][b["request_of_item"]] - b["items.item_category"] for b, *_ in held_out]
    assert 0.93 < oracle < 0.96 and auc_of(additive, held_out) < oracle - 0.03
    made = trained(name, 150)
    assert auc_of([made(batch)[:, 0] for batch, *_ in held_out], held_out) > oracle - 0.02
    y = torch.cat([batch["items.y_click"] for batch, *_ in held_out]).float()
    of_rate = log_loss(y.mean().logit().expand(len(y)), y)
    fooled = trained(name, 60, shuffled=True)
    assert log_loss(torch.cat([fooled(batch)[:, 0] for batch, *_ in held_out]), y) > of_rate
    assert log_loss(torch.cat([made(batch)[:, 0] for batch, *_ in held_out]), y) < 0.5 * of_rate


def test_attention_to_behaviours_begins_as_likeness():
    """Untrained, a head already tells items whose category is among the behaviours from others: AUC 1 but for chance likeness."""
    made, batches = model().tokens, [planted(seed) for seed in range(5)]
    heard = []
    with torch.no_grad():
        made.attention.of_behaviours.weight[32:].zero_()  # values say only that something was found
        made.attention.of_behaviours.bias[32:] = 1.0
        made.attention.register_forward_hook(lambda module, given, seen_NA: heard.append(seen_NA[:, 8]))  # the second shared: category
        for batch, *_ in batches:
            made(batch)
    is_seen_N = torch.cat([is_seen for *_, is_seen in batches])
    assert auc(torch.cat(heard), is_seen_N) > 0.9


def test_dot_product_attention_is_what_the_layer_computes():
    made, x_NTD = HFA(tiny()), torch.randn(3, 15, 32)
    q, k, v = made.qkv(made.norms[0](x_NTD)).chunk(3, dim=-1)
    heads = []
    for part in range(2):
        here = slice(16 * part, 16 * part + 16)
        heads.append(F.softmax(q[..., here] @ k[..., here].transpose(1, 2) / 16**0.5, dim=-1) @ v[..., here])
    middle = x_NTD + torch.cat(heads, dim=-1)
    torch.testing.assert_close(made(x_NTD), middle + made.ffn(made.norms[1](middle)))


def test_the_same_code_runs_in_mixed_precision():
    """bfloat16 keeps 8 bits: scores near those of full precision, a finite gradient for every weight."""
    made, batch = model(), random_batch(9)
    expected = made(batch).detach()
    with torch.autocast("cpu", torch.bfloat16):
        found = loss(made, batch)
        torch.testing.assert_close(made(batch).detach(), expected, rtol=0.05, atol=0.05)
    found.backward()
    assert all(p.grad.isfinite().all() for n, p in made.named_parameters() if "embeddings" not in n)


@pytest.mark.parametrize("name", MODELS)
def test_what_a_gpu_compiles_can_be_traced_and_gives_the_same(name):
    """The part that is compiled, traced without a code generator; names of weights stay."""
    made, batch = model(model=name), random_batch(9)
    expected, names = made(batch).detach(), set(made.state_dict())
    made.interaction.compile(dynamic=True, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(made(batch).detach(), expected)
    loss(made, random_batch(5, seed=1)).backward()
    assert set(made.state_dict()) == names
