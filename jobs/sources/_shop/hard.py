"""Hard queries: wishes that match no title's words, each with the plain query that would have found them, and the true products of all."""

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from jobs.sources._shop import Plan
from jobs.sources._shop.catalogue import FACETS, Catalogue, facet_words, make_catalogue, phrase

HARDNESS = ("question", "alternative", "negation", "knowledge", "plain")
QUESTION, ALTERNATIVE, NEGATION, KNOWLEDGE, PLAIN = range(5)
MOST = 1_000_000  # no list is as long
_QUESTIONS = ("what do i need to {use}", "which one helps to {use}", "how can i {use}")
_ALTERNATIVES = ("alternative to {word} {plain}", "instead of {word} {plain}", "{plain} like {word}")
_NEGATIONS = ("{plain} without {word}", "{plain} not {word}", "non {word} {plain}", "{plain} except {word}")
_USES = {  # noun of a title -> another word for it, and what it is for; no title holds any of these words
    "desk": ("workstation", "do homework"),
    "chair": ("seat", "rest at dinner"),
    "bookcase": ("shelving", "keep novels"),
    "wardrobe": ("closet", "hang dresses"),
    "bench": ("pew", "let guests wait"),
    "lamp": ("luminaire", "read at night"),
    "lantern": ("candleholder", "find a path in fog"),
    "spotlight": ("floodlight", "show paintings"),
    "chandelier": ("girandole", "brighten a ballroom"),
    "torch": ("flashlight", "look under the car"),
    "kettle": ("boiler", "heat water"),
    "saucepan": ("stewpot", "cook porridge"),
    "teapot": ("infuser", "brew darjeeling"),
    "blender": ("liquidizer", "mix smoothies"),
    "toaster": ("crisper", "brown bread"),
    "jacket": ("blouson", "stay dry in rain"),
    "sweater": ("pullover", "keep warm in winter"),
    "skirt": ("kilt", "dance at weddings"),
    "trousers": ("slacks", "cover my knees"),
    "scarf": ("muffler", "wrap my neck"),
    "sneakers": ("trainers", "run a marathon"),
    "boots": ("wellingtons", "walk through mud"),
    "sandals": ("espadrilles", "stroll on beaches"),
    "slippers": ("mules", "tiptoe at home"),
    "loafers": ("moccasins", "dress for meetings"),
    "tent": ("bivouac", "camp overnight"),
    "backpack": ("rucksack", "carry books to school"),
    "hammock": ("hangmat", "nap between trees"),
    "cooler": ("icebox", "chill beer"),
    "thermos": ("flask", "bring coffee to work"),
    "puzzle": ("jigsaw", "spend rainy evenings"),
    "doll": ("figurine", "play house"),
    "kite": ("parafoil", "catch the wind"),
    "scooter": ("kickboard", "roll to kindergarten"),
    "drum": ("bongo", "beat a rhythm"),
    "notebook": ("journal", "write a diary"),
    "stapler": ("tacker", "fasten sheets"),
    "binder": ("portfolio", "file invoices"),
    "pen": ("ballpoint", "sign letters"),
    "folder": ("dossier", "sort receipts"),
}
_SYNONYMS = {noun: synonym for noun, (synonym, _) in _USES.items()} | {
    **{"red": "crimson", "blue": "azure", "green": "emerald", "black": "ebony"},
    **{"white": "ivory", "grey": "slate", "yellow": "golden", "pink": "rosy"},
    **{"wood": "timber", "steel": "metallic", "cotton": "woven", "leather": "hide", "plastic": "acrylic", "glass": "crystal"},
    **{"small": "compact", "medium": "midsize", "large": "spacious", "xl": "oversized", "slim": "narrow"},
    **{"travel": "portable", "kids": "toddler", "garden": "backyard", "luxury": "premium", "mini": "tiny", "classic": "timeless"},
    **{"smart": "connected", "folding": "collapsible", "vintage": "antique", "sport": "athletic", "studio": "atelier"},
}


@dataclass(frozen=True, eq=False)
class HardQueries:
    """Hard queries by leaf * hard_queries_per_leaf + rank. Each array ends with what holds for a plain query, so -1 is one."""

    texts: list[str]
    kind: np.ndarray
    """Place in HARDNESS."""
    leaf: np.ndarray
    """What is wanted: items of this leaf with all words of its query `plain`, less those that have `value` as `facet`."""
    plain: np.ndarray
    facet: np.ndarray
    """Facet of what is not wanted, -1 for none."""
    value: np.ndarray
    listed_leaf: np.ndarray
    """What the engine hears: words of this query of this leaf, and `value` as if it were wanted."""
    listed_query: np.ndarray
    most: np.ndarray
    """Most candidates that it finds."""
    clicks: np.ndarray
    """Clicks on its lists, relative to those of a plain query."""


def true_slots(catalogue: Catalogue, leaf: np.ndarray, query: np.ndarray, facet: np.ndarray, value: np.ndarray) -> np.ndarray:
    """(wishes, slots) the leaf's items that carry all words of its query and have not `value` as `facet`."""
    is_true = catalogue.is_item[leaf] & (catalogue.facets[facet, leaf] != value[:, None])
    for each in range(len(FACETS)):
        named = catalogue.query_facets[each, leaf, query][:, None]
        is_true &= (catalogue.facets[each, leaf] == named) | (named < 0)
    return is_true


def is_unwanted(hard: HardQueries, catalogue: Catalogue, number: np.ndarray, item: np.ndarray) -> np.ndarray:
    """(requests, columns) items with the very value that the request's hard query excludes."""
    slot, leaf = np.divmod(item, catalogue.num_leaves)
    return catalogue.facets[hard.facet[number][:, None], leaf, slot] == hard.value[number][:, None]


def named_facets(hard: HardQueries, catalogue: Catalogue, leaf: np.ndarray, query: np.ndarray, number: np.ndarray) -> np.ndarray:
    """(facet, requests) values that the engine takes for wanted, -1 for none: it knows words, not what stands between them."""
    named = catalogue.query_facets[:, leaf, query]
    rows = np.nonzero(hard.facet[number] >= 0)[0]
    named[hard.facet[number][rows], rows] = hard.value[number][rows]
    return named


@lru_cache(maxsize=2)  # one for each plan that a worker process meets
def make_hard_queries(plan: Plan) -> HardQueries:
    """The hard queries of a plan, the same in every process; none where none are asked."""
    catalogue, shop = make_catalogue(plan), plan.shop
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([plan.seed, 4])))
    rows = []
    for leaf in range(catalogue.num_leaves if plan.hard_share else 0):
        for rank in range(shop.hard_queries_per_leaf):
            kind = (leaf + rank) % PLAIN  # each type has common and rare queries
            plain, facet, value = _wish(catalogue, leaf, kind, rng)
            is_heard = kind in (ALTERNATIVE, NEGATION)
            elsewhere = (leaf + 1 + int(rng.integers(0, catalogue.num_leaves - 1))) % catalogue.num_leaves
            found = int(rng.integers(0, shop.few_found + 1))
            heard = (leaf, plain, MOST) if is_heard else (elsewhere, 0, found)  # query 0 of a leaf names nothing
            text = _text(catalogue, leaf, plain, kind, facet, value, rng)
            rows.append((text, kind, leaf, plain, facet, value, *heard, shop.hard_clicks))
    rows.append(("", PLAIN, -1, -1, -1, -1, -1, -1, MOST, 1.0))
    texts, *columns = zip(*rows, strict=True)
    return HardQueries(list(texts[:-1]), *map(np.array, columns))


def _wish(catalogue: Catalogue, leaf: int, kind: int, rng: np.random.Generator) -> tuple[int, int, int]:
    """A query of the leaf that names no brand; for alternatives and negations a facet and its commonest value, of which not all are."""
    queries = rng.permutation(catalogue.query_facets.shape[2])
    facets = [0] if kind == ALTERNATIVE else list(1 + rng.permutation(len(FACETS) - 1))
    for plain in (int(q) for q in queries if catalogue.query_facets[0, leaf, q] < 0):
        if kind in (QUESTION, KNOWLEDGE):
            return plain, -1, -1
        slots = true_slots(catalogue, *(np.array([n]) for n in (leaf, plain, -1, -1)))[0]
        for facet in (f for f in facets if catalogue.query_facets[f, leaf, plain] < 0):
            counts = Counter(catalogue.facets[facet, leaf, slots].tolist())
            if len(counts) > 1:
                return plain, int(facet), min(counts, key=lambda value: (-counts[value], value))
    raise AssertionError("the first query of a leaf names nothing and fits all kinds")


def _text(catalogue: Catalogue, leaf: int, plain: int, kind: int, facet: int, value: int, rng: np.random.Generator) -> str:
    name = catalogue.leaf_names[leaf]
    words = phrase(name, facet_words(catalogue, leaf, catalogue.query_facets[:, leaf, plain]))
    *traits, noun = (_SYNONYMS.get(word, word) for word in words.split())
    if kind == KNOWLEDGE:
        return " ".join([*traits, noun])
    if kind == QUESTION:
        asked = _QUESTIONS[rng.integers(0, len(_QUESTIONS))].format(use=_USES[name.split()[-1]][1])
        return f"{asked} in {' '.join(traits)}" if traits else asked
    forms = _ALTERNATIVES if kind == ALTERNATIVE else _NEGATIONS
    excluded = facet_words(catalogue, leaf, np.where(np.arange(len(FACETS)) == facet, value, -1))[facet]
    return forms[rng.integers(0, len(forms))].format(plain=words, word=excluded)
