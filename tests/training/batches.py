"""Random batches of hhsft_examples as the loader makes them, from the tuples of features."""

import torch

from schemas.hhsft_examples import ITEM_FEATURES, REQUEST_FEATURES
from training.loader import Ragged


def ragged(lengths, size, generator):
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), torch.tensor(lengths, dtype=torch.int64).cumsum(0)])
    return Ragged(torch.randint(1, size, (int(offsets[-1]),), generator=generator), offsets)


def some(most, num, generator, least=0):
    return torch.randint(least, most + 1, (num,), generator=generator).tolist()


def features(rows, given, prefix, num, longest, generator):
    """Values of each feature; sequences are aligned, some of them empty."""
    lengths = some(longest, num, generator)
    for feature in given:
        if feature.kind == "sequence":
            rows[prefix + feature.name] = ragged(lengths, feature.size, generator)
        elif feature.kind == "tokens":
            rows[prefix + feature.name] = ragged(some(4, num, generator), feature.size, generator)
        else:
            rows[prefix + feature.name] = torch.randint(0, feature.size, (num,), generator=generator)


def random_batch(num_requests=6, domains=(1, 2, 3), *, most_items=5, longest=7, seed=0, request_features=REQUEST_FEATURES):
    """Requests of these domains in turn, with 1 to `most_items` items each; labels at random."""
    generator = torch.Generator().manual_seed(seed)
    batch = {}
    features(batch, request_features, "", num_requests, longest, generator)
    batch["domain_id"] = torch.tensor([domains[n % len(domains)] for n in range(num_requests)], dtype=torch.int64)
    batch["is_pseudo"] = batch["domain_id"] != 1
    counts = torch.tensor(some(most_items, num_requests, generator, least=1), dtype=torch.int64)
    batch["request_of_item"] = torch.repeat_interleave(torch.arange(num_requests), counts)
    num_items = int(counts.sum())
    features(batch, ITEM_FEATURES, "items.", num_items, longest, generator)
    click = torch.rand(num_items, generator=generator) < 0.4
    exposed = torch.rand(num_items, generator=generator) < 0.6
    is_search = ~batch["is_pseudo"][batch["request_of_item"]]
    batch["items.is_exposed"] = exposed
    batch["items.y_click"] = click.int()
    batch["items.y_pay"] = (click & (torch.rand(num_items, generator=generator) < 0.3)).int()
    batch["items.y_click_native"] = (click & exposed & is_search).int()
    batch["items.weight"] = 1 + torch.rand(num_items, generator=generator, dtype=torch.float64)
    return batch
