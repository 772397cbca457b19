"""Features to tokens: every feature is read and nothing else, requests once; order and padding do not matter."""

from dataclasses import replace

import pytest
import torch

from schemas.derive import parse_type
from schemas.features import Feature
from schemas.hhsft_examples import CONTRACT, ITEM_FEATURES, REQUEST_FEATURES
from tests.training.batches import Ragged, random_batch
from training.hhsft.config import config
from training.hhsft.tokens import Embeddings, Tokens, places_within

NAMES = {f.name for f in REQUEST_FEATURES} | {f"items.{f.name}" for f in ITEM_FEATURES}


class Watched(dict):
    """Notes which columns are read."""

    def __init__(self, batch):
        super().__init__(batch)
        self.read = set()

    def __getitem__(self, name):
        self.read.add(name)
        return super().__getitem__(name)


def tokens(**changes):
    torch.manual_seed(0)
    return Tokens(config("tiny", **changes), REQUEST_FEATURES, ITEM_FEATURES)


def test_every_feature_is_read_and_nothing_else():
    batch = Watched(random_batch())
    tokens()(batch)
    assert batch.read == NAMES | {"request_of_item"}
    fields = {f"items.{part.name}" for part in parse_type(CONTRACT.column("items").type).parts[0].type.parts}
    others = ({c.name for c in CONTRACT.columns} | fields) - NAMES
    assert {"request_id", "user_id", "is_pseudo", "query_source", "items.label_source", "items.position", "items.y_click"} <= others
    assert not batch.read & others


def test_each_item_has_the_tokens_of_all_groups():
    batch = random_batch(6)
    x_NTD = tokens(tokens=(("user", 3), ("item", 2), ("query", 1), ("sequence", 5), ("domain", 1)))(batch)
    assert x_NTD.shape == (len(batch["request_of_item"]), 12, 32)
    request_of_item = batch["request_of_item"]
    one_request = (request_of_item == request_of_item[0]).nonzero()[:, 0]
    assert len(one_request) > 1
    of_request = [0, 1, 2, 5, 11]  # user, query, domain
    assert torch.equal(x_NTD[one_request][:, of_request], x_NTD[one_request[:1]][:, of_request].expand(len(one_request), -1, -1))
    assert not torch.equal(x_NTD[one_request[0], 3], x_NTD[one_request[1], 3])


def test_request_features_are_embedded_once_whatever_the_number_of_items():
    few, many = (random_batch(4, most_items=n) for n in (1, 50))
    looked_up = []
    for batch in (few, many):
        made, count = tokens(), [0]
        made.embeddings.table.register_forward_hook(lambda m, given, out, count=count: count.__setitem__(0, count[0] + given[0].numel()))
        made(batch)
        items = len(batch["request_of_item"]) * sum(f.kind != "tokens" for f in ITEM_FEATURES)
        looked_up.append(count[0] - items)
    assert looked_up[0] == looked_up[1] > 0


def shuffled(batch, order_N):
    """The items in another order, everything about them along with them."""
    other = dict(batch)
    for name, values in batch.items():
        if name == "request_of_item" or name.startswith("items."):
            other[name] = taken(values, order_N)
    return other


def taken(values, order):
    if isinstance(values, torch.Tensor):
        return values[order]
    parts = [values.values[values.offsets[n] : values.offsets[n + 1]] for n in order.tolist()]
    return Ragged(torch.cat(parts), torch.tensor([0, *map(len, parts)]).cumsum(0))


def test_the_order_of_items_does_not_matter():
    batch, made = random_batch(8), tokens()
    order_N = torch.randperm(len(batch["request_of_item"]), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(made(shuffled(batch, order_N)), made(batch)[order_N])


def alone(batch, request):
    """One request of the batch as a batch of its own."""
    items = (batch["request_of_item"] == request).nonzero()[:, 0]
    other = {name: taken(v, items if name.startswith("items.") else torch.tensor([request])) for name, v in batch.items() if name in NAMES}
    return other | {"request_of_item": torch.zeros(len(items), dtype=torch.int64)}


def test_padding_does_not_matter():
    """Lists and sequences of other requests, longer or shorter, change nothing: each request alone has the same tokens."""
    batch, made = random_batch(8, longest=30), tokens()
    together = made(batch)
    for request in range(8):
        torch.testing.assert_close(made(alone(batch, request)), together[batch["request_of_item"] == request])


def test_a_user_without_behaviours_attends_to_the_learnt_nothing():
    batch, made = random_batch(2, longest=0), tokens()
    with torch.no_grad():
        made.attention.nothing.normal_()
    assert made(batch).isfinite().all()
    made(batch).sum().backward()
    assert made.attention.nothing.grad.abs().sum() > 0


def test_shared_tables_are_one_and_large_ids_fold_into_theirs():
    features = [Feature("a", "item", "id", 100, ""), Feature("b", "item", "id", 100, "", table="a"), Feature("c", "item", "id", 10, "")]
    made = Embeddings(features, config("tiny", table_rows=20))
    assert made.table.weight.shape == (20 + 10, 8)
    ids = torch.tensor([0, 1, 19, 20, 99])
    assert made.rows("a", ids).tolist() == made.rows("b", ids).tolist() == [0, 1, 19, 1, 4]  # 0 is missing, none folds into it
    assert made.rows("c", torch.tensor([0, 9])).tolist() == [20, 29]


def test_a_bag_is_the_mean_of_its_ids_and_zero_when_empty():
    made = Embeddings([Feature("words", "item", "tokens", 10, "")], config("tiny"))
    found = made.bag("words", torch.tensor([3, 5, 5]), torch.tensor([0, 2, 2, 3]))
    weight = made.table.weight
    torch.testing.assert_close(found, torch.stack([(weight[3] + weight[5]) / 2, torch.zeros(8), weight[5]]))


def test_places_within_lists():
    assert places_within(torch.tensor([2, 0, 2, 2, 0]), 4)[0].tolist() == [0, 0, 1, 2, 1]
    assert places_within(torch.tensor([2, 0, 2, 2, 0]), 4)[1] == 3
    assert places_within(torch.tensor([], dtype=torch.int64), 0)[1] == 0


def test_a_feature_that_no_token_reads_is_an_error():
    lost = [replace(ITEM_FEATURES[0], name="lost", group="weather"), *ITEM_FEATURES]
    mixed = [replace(ITEM_FEATURES[0], name="mixed", group="user"), *ITEM_FEATURES]
    for items, message in ((lost, "lost has group weather"), (mixed, "group user has features of requests and of items")):
        with pytest.raises(ValueError, match=message):
            Tokens(config("tiny"), REQUEST_FEATURES, items)
    with pytest.raises(ValueError, match="group query has no feature"):
        Tokens(config("tiny"), [f for f in REQUEST_FEATURES if f.group != "query"], ITEM_FEATURES)
