"""Rows of retriever_examples of a planted world: queries in words that no title has, each of one of twelve kinds of item."""

import random

NUM_KINDS_OF_ITEM, ITEMS_EACH = 12, 8


def tokens(draw, *words):
    """A word is one token; each text has a token of its own besides."""
    return [1 + w for w in words] + [1000 + draw.randrange(3000)]


def row(kind, query, item, draw, **more):
    """Query q<k>-<n> asks for items i<k>-<n> by a word that no title has (100 + k); titles of kind k have word k."""
    wanted = int(query.split("-")[0][1:]) if query else None
    of_item = int(item.split("-")[0][1:])
    given = {"kind": kind, "query_norm": query, "item_id": item, "query_hash": hash_of(query), "item_hash": hash_of(item)}
    given |= {"query_tokens": tokens(random.Random(query), 100 + wanted) if query else [], "weight": 1.0, "hard_negatives": []}
    given |= {"item_tokens": tokens(random.Random(item), of_item), "segment": "tail" if query else None}
    return given | more


def hash_of(text):
    return random.Random(f"hash {text}").randrange(-(2**62), 2**62) if text else 0


def world(log_kinds, synthetic_kinds, seed=1):
    """Rows: for some kinds of item observed pairs, for others synthetic ones; evaluation queries of all kinds."""
    draw, items = random.Random(seed), {k: [f"i{k}-{n}" for n in range(ITEMS_EACH)] for k in range(NUM_KINDS_OF_ITEM)}
    rows = [row("catalogue", "", item, draw) for of_kind in items.values() for item in of_kind]
    for name, kinds in (("log", log_kinds), ("synthetic", synthetic_kinds)):
        rows += [row(name, f"q{k}-{n}", item, draw) for k in kinds for n in range(6) for item in draw.sample(items[k], 3)]
    for k in range(NUM_KINDS_OF_ITEM):
        rows += [row("evaluation", f"q{k}-9", item, draw, segment="tail" if k in synthetic_kinds else "head") for item in items[k]]
    other = {"hard_negatives": [{"item_id": "i1-0", "item_hash": hash_of("i1-0"), "source": "shown"}]}
    return [r | other if r["kind"] == "log" and r["query_norm"].startswith("q0-") else r for r in rows]
