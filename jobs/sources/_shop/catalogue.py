"""The catalogue: items with words, prices and hidden qualities, and the queries that people make of the same words."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from jobs.sources._shop import Plan

FACETS = ("brand", "colour", "material", "size")
TASTES = 4
_VALUES = (12, 8, 6, 5)  # different values of each facet; brands are those of one department
_WEIGHTS = (1.5, 1.0, 0.8, 0.8)  # how much a match tells; our choice
_DEPARTMENTS = {
    "furniture": ("desk", "chair", "bookcase", "wardrobe", "bench"),
    "lighting": ("lamp", "lantern", "spotlight", "chandelier", "torch"),
    "kitchen": ("kettle", "saucepan", "teapot", "blender", "toaster"),
    "clothing": ("jacket", "sweater", "skirt", "trousers", "scarf"),
    "shoes": ("sneakers", "boots", "sandals", "slippers", "loafers"),
    "outdoor": ("tent", "backpack", "hammock", "cooler", "thermos"),
    "toys": ("puzzle", "doll", "kite", "scooter", "drum"),
    "office": ("notebook", "stapler", "binder", "pen", "folder"),
}
_QUALIFIERS = ("", "travel", "kids", "garden", "luxury", "mini", "classic", "smart", "folding", "vintage", "sport", "studio")
_COLOURS = ("red", "blue", "green", "black", "white", "grey", "yellow", "pink")
_MATERIALS = ("wood", "steel", "cotton", "leather", "plastic", "glass")
_SIZES = ("small", "medium", "large", "xl", "slim")
_SYLLABLES = ("ba", "co", "di", "fu", "ga", "ho", "ka", "lu", "mi", "no", "pa", "ri", "so", "ta", "ve", "zu")
_LEAVES_PER_DEPARTMENT = 5


@dataclass(frozen=True, eq=False)
class Catalogue:
    """Items by leaf: item = slot * num_leaves + leaf, so arrays (leaf, slot) need no index; the last slots may hold no item."""

    leaf_names: list[str]
    department_names: list[str]
    brand_names: list[list[str]]
    is_item: np.ndarray
    """(leaf, slot) there is such an item."""
    facets: np.ndarray
    """(facet, leaf, slot) value, int8."""
    shop: np.ndarray
    """(leaf, slot) which of the department's sellers."""
    quality: np.ndarray
    taste: np.ndarray
    """(leaf, slot, TASTES)."""
    cents: np.ndarray
    """(day, leaf, slot) price."""
    is_on_shelf: np.ndarray
    """(day, leaf, slot)."""
    leaf_chances: np.ndarray
    query_facets: np.ndarray
    """(facet, leaf, query) value that the query names, -1 where it names none."""
    is_strict: np.ndarray
    """(leaf, query) lists only items with all its words."""
    query_chances: np.ndarray
    queries: list[str]
    """Texts by leaf * queries_per_leaf + query."""

    @property
    def num_leaves(self) -> int:
        return len(self.leaf_names)

    def siblings(self, leaf: np.ndarray, draw: np.ndarray) -> np.ndarray:
        """Another leaf of the same department, chosen by `draw` in [0, 1); the leaf itself where it has no sibling."""
        start = leaf // _LEAVES_PER_DEPARTMENT * _LEAVES_PER_DEPARTMENT
        size = np.minimum(_LEAVES_PER_DEPARTMENT, self.num_leaves - start)
        return start + (leaf - start + 1 + (draw * np.maximum(size - 1, 1)).astype(np.int64)) % size


def facet_words(catalogue: Catalogue, leaf: int, values: np.ndarray) -> list[str]:
    """Words of the facets' values in the order of FACETS; empty for -1."""
    lists = (catalogue.brand_names[leaf // _LEAVES_PER_DEPARTMENT], _COLOURS, _MATERIALS, _SIZES)
    return [words[value] if value >= 0 else "" for words, value in zip(lists, values, strict=True)]


def phrase(noun: str, words: list[str]) -> str:
    """Brand, colour and size, then material and noun, as titles and queries put them."""
    brand, colour, material, size = words
    return " ".join(word for word in (brand, colour, size, material, noun) if word)


def relevance(catalogue: Catalogue, leaf: np.ndarray, named: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(requests, slots): weighted number of the query's words that each item of the leaf carries, and whether it carries all.

    `named` (facet, requests) holds the values that the query names, -1 where it names none.
    """
    total = np.zeros((len(leaf), catalogue.is_item.shape[1]), np.float32)
    is_full = np.ones(total.shape, bool)
    for facet, weight in enumerate(_WEIGHTS):
        wanted = named[facet][:, None]
        is_match = catalogue.facets[facet][leaf] == wanted
        total += np.float32(weight) * is_match
        is_full &= is_match | (wanted < 0)
    return total, is_full


@lru_cache(maxsize=2)  # one for each plan that a worker process meets
def make_catalogue(plan: Plan) -> Catalogue:
    """The catalogue of a plan, the same in every process."""
    shop, leaves = plan.shop, plan.num_leaves
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([plan.seed, 0])))
    shape = (leaves, -(-plan.items // leaves))
    is_item = (np.arange(shape[1]) * leaves + np.arange(leaves)[:, None]) < plan.items
    # a few common values on most items, as brands and colours are: 0.44 of items have the commonest colour
    facets = np.stack([(rng.random(shape) ** 2.5 * n).astype(np.int8) for n in _VALUES])
    quality = rng.standard_normal(shape, np.float32)
    quality[0, 0] = shop.hot_item_quality
    taste = rng.standard_normal((*shape, TASTES), np.float32) / np.float32(np.sqrt(TASTES))
    log_price = rng.normal(8.0, 0.7, (leaves, 1)) + rng.normal(0, 0.5, shape)
    changes = (rng.random((plan.num_days, *shape)) < shop.price_change_rate) * rng.uniform(-0.25, 0.2, (plan.num_days, *shape))
    changes[0] = 0
    departments = -(-leaves // _LEAVES_PER_DEPARTMENT)
    brands = [_words(rng, _VALUES[0]) for _ in range(departments)]
    names = [_leaf_name(leaf, rng) for leaf in range(leaves)]
    query_facets, is_strict = _make_queries(plan, facets, is_item, rng)
    catalogue = Catalogue(
        leaf_names=names,
        department_names=[_department_name(n) for n in range(departments)],
        brand_names=brands,
        is_item=is_item,
        facets=facets,
        shop=rng.integers(0, shop.shops_per_leaf, shape, np.int8),
        quality=quality,
        taste=taste,
        cents=np.exp(log_price + np.cumsum(changes, axis=0)).astype(np.int64) + 1,
        is_on_shelf=_shelf(plan, shape, rng),
        leaf_chances=zipf(leaves, shop.leaf_zipf),
        query_facets=query_facets,
        is_strict=is_strict,
        query_chances=zipf(shop.queries_per_leaf, shop.query_zipf),
        queries=[],
    )
    for leaf in range(leaves):
        specs = query_facets[:, leaf].T
        catalogue.queries.extend(phrase(names[leaf], facet_words(catalogue, leaf, values)) for values in specs)
    return catalogue


def _make_queries(plan: Plan, facets: np.ndarray, is_item: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Each query describes an item of its leaf by some of its facets: the first by none, the rarer the more; 2.5 words on average."""
    leaves, queries = len(is_item), plan.shop.queries_per_leaf
    described = rng.integers(0, is_item.sum(axis=1)[:, None], (leaves, queries))
    rarity = np.arange(queries) / queries
    is_named = rng.random((len(FACETS), leaves, queries)) < 0.4 + 0.35 * rarity
    is_named[:, :, 0] = False
    values = facets[:, np.arange(leaves)[:, None], described]
    return np.where(is_named, values, -1).astype(np.int8), (rng.random((leaves, queries)) < plan.shop.strict_share) & (rarity >= 0.5)


def _shelf(plan: Plan, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    leaves_at = rng.random((plan.num_days, *shape)) < plan.shop.off_shelf_rate
    absence = rng.integers(1, 5, leaves_at.shape, np.int8)
    is_on_shelf = np.ones(leaves_at.shape, bool)
    for lag in range(min(4, plan.num_days)):
        gone = leaves_at[: plan.num_days - lag] & (absence[: plan.num_days - lag] > lag)
        is_on_shelf[lag:] &= ~gone
    is_on_shelf[:, 0, 0] = True  # the hot item
    return is_on_shelf


def zipf(n: int, exponent: float) -> np.ndarray:
    """Cumulative chances of ranks 1..n."""
    chances = np.cumsum(np.arange(1, n + 1) ** -exponent)
    return chances / chances[-1]


def _words(rng: np.random.Generator, n: int) -> list[str]:
    syllables = rng.integers(0, len(_SYLLABLES), (n, 3))
    return ["".join(_SYLLABLES[s] for s in row) for row in syllables]


def _leaf_name(leaf: int, rng: np.random.Generator) -> str:
    department, place = divmod(leaf, _LEAVES_PER_DEPARTMENT)
    round_, known = divmod(department, len(_DEPARTMENTS))
    noun = tuple(_DEPARTMENTS.values())[known][place]
    made = _words(rng, 1)[0]  # always drawn, so that no name moves the draws after it
    return f"{_QUALIFIERS[round_] if round_ < len(_QUALIFIERS) else made} {noun}".strip()


def _department_name(department: int) -> str:
    round_, known = divmod(department, len(_DEPARTMENTS))
    return f"{tuple(_DEPARTMENTS)[known]} {round_ or ''}".strip()
