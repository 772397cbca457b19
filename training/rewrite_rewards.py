"""What a reply with rewrites of a query is worth: relevance and alignment with products of each rewrite, diversity and form of all.

R_rel(r): mean over the query's words, by weight, of the strongest word of r that stands for it in the log, 1 for the word itself; 0
where r is the query itself, repeats another rewrite, or names what the query excludes.
R_align(r): half the share of the query's good items among the titles that r finds, half the share of r's words that titles use.
Worth of r: w_rel R_rel + w_align R_align, but R_rel alone where it is below the gate. Of the reply: w_div times the different titles
that its relevant rewrites find, as a share of all that NUM_REWRITES could, plus w_form times the share of NUM_REWRITES that it says, 0
where it says one twice: else replies shrink to their best rewrite. A reply that cannot be read is worth nothing.
Paper: Synthetic Data Powers Product Retrieval (arXiv 2602.23620) names relevance, alignment with the product side and diversity, and
no formula; formulas are our choice after BEQUE and CSA-QR. Credit by rewrite is IL-GRPO of AIGQ (arXiv 2603.19710), but for one thing:
a rewrite is compared with all of its group, since the place in a set means nothing.
"""

# G replies of a group, K titles that a rewrite finds
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from features.generated import ANSWERED, SEPARATOR, parts, rewrites_in
from schemas.query_rewriter_examples import NUM_REWRITES
from training.lexical import Lexical
from training.words import words

STRENGTHS = 10_000
CUT = re.compile(rf"{re.escape(SEPARATOR)}|<sep>")


@dataclass(frozen=True, kw_only=True)
class Worth:
    """What counts for how much; our choice, as no source has a figure, but for those of the notes on arXiv 2602.23620, marked [N]."""

    relevance: float = 1.0
    """[N]"""
    alignment: float = 0.5
    """[N]"""
    diversity: float = 0.5
    """[N]"""
    form: float = 0.5
    """Of a reply in the form that was asked for: NUM_REWRITES rewrites, their share where there are fewer, none alike, none empty."""
    gate: float = 0.3
    """A rewrite less relevant than this earns its relevance alone. The least relevance that query_rewrites lets through."""
    found: int = 50
    """Titles that a rewrite finds, K. [N]"""
    least_found: int = 20
    """A rewrite that finds fewer is not aligned. [N]"""
    least_titles: int = 5
    """Titles that must use a word for it to be one of the catalogue. [N]"""
    of_reply: float = 0.5
    """Share of the reply's advantage in that of each of its words, lambda of AIGQ."""


class Judged(NamedTuple):
    """A reply, measured. One number for each rewrite, in order."""

    spans: list[tuple[int, int]]
    """Where each stands in the text, from and to."""
    relevance: list[float]
    alignment: list[float]
    worth: list[float]
    diversity: float
    form: float
    whole: float
    """Worth of the reply apart from its rewrites."""


NOTHING = Judged([], [], [], [], 0.0, 0.0, 0.0)


class Judge:
    """Measures replies against one catalogue. A reply to a query is measured once."""

    def __init__(self, titles: Sequence[Sequence[str]], item_ids: Sequence[str], worth: Worth) -> None:
        self.index, self.item_ids, self.worth = Lexical(titles), np.array(item_ids, dtype=object), worth
        self.num_titles = Counter(word for title in titles for word in title)
        self._kept: dict[tuple[str, str], Judged] = {}

    def __call__(self, text: str, query: Mapping[str, Any]) -> Judged:
        """query: query_norm, terms, excluded and good_items of a row of kind grpo."""
        key = (query["query_norm"], text)
        if key not in self._kept:
            self._kept = {} if len(self._kept) > 1 << 14 else self._kept
            self._kept[key] = self._judged(text, query)
        return self._kept[key]

    def _judged(self, text: str, query: Mapping[str, Any]) -> Judged:
        pieces, worth = pieces_of(text), self.worth
        said = [words(piece) for _, _, piece in pieces]
        seen = [frozenset(own) for own in said]
        is_new = [bool(own) and own not in seen[:n] and n < NUM_REWRITES for n, own in enumerate(seen)]
        if not any(is_new):
            return NOTHING
        found = [self.found(own) if new else [] for own, new in zip(said, is_new, strict=True)]
        relevance = [relevance_of(own, query) if new else 0.0 for own, new in zip(said, is_new, strict=True)]
        alignment = [self._alignment(own, items, query["good_items"]) for own, items in zip(said, found, strict=True)]
        passed = [r >= worth.gate for r in relevance]
        each = [worth.relevance * r + (worth.alignment * a if ok else 0.0) for r, a, ok in zip(relevance, alignment, passed, strict=True)]
        union = {item for items, ok in zip(found, passed, strict=True) if ok for item in items}
        diversity, form = len(union) / (worth.found * NUM_REWRITES), len(is_new) / NUM_REWRITES if all(is_new) else 0.0
        spans = [(start, end) for start, end, _ in pieces]
        return Judged(spans, relevance, alignment, each, diversity, form, worth.diversity * diversity + worth.form * form)

    def found(self, own: Sequence[str]) -> list[int]:
        """Places of the K titles that have the most of these words by BM25, ties by place; none that has none of them."""
        scores_I = self.index.scores(dict.fromkeys(own, 1.0))
        hits = np.flatnonzero(scores_I > 0)
        return hits[np.lexsort((hits, -scores_I[hits]))][: self.worth.found].tolist()

    def _alignment(self, own: Sequence[str], found: Sequence[int], good_items: Sequence[str]) -> float:
        if len(found) < self.worth.least_found:
            return 0.0
        hits = len(set(good_items) & set(self.item_ids[list(found)])) / min(len(good_items), self.worth.found)
        return 0.5 * hits + 0.5 * sum(self.num_titles[word] >= self.worth.least_titles for word in own) / len(own)


def pieces_of(text: str) -> list[tuple[int, int, str]]:
    """Start, end and rewrite of all that stands between separators, '' where that is no rewrite; none where the reply cannot be read."""
    ((status, line),) = parts(text, 1)
    if status != ANSWERED:
        return []
    first = text.index(line)
    cuts = [m.span() for m in CUT.finditer(line)]
    edges = zip([0, *(end for _, end in cuts)], [*(start for start, _ in cuts), len(line)], strict=True)
    pieces = [(first + b - len(line[a:b].lstrip()), line[a:b].strip()) for a, b in edges]
    return [(start, start + len(piece), "".join(rewrites_in(piece))) for start, piece in pieces]


def relevance_of(own: Sequence[str], query: Mapping[str, Any]) -> float:
    """R_rel of a rewrite in these words."""
    terms, spoken = query["terms"], set(own)
    excluded = {form for word in query["excluded"] for form in (word, f"{word}s", word.removesuffix("s"))}
    if not terms or spoken & excluded or spoken == set(words(query["query_norm"])):
        return 0.0
    gained = 0.0
    for term in terms:
        stands = dict(zip(term["targets"], term["strengths"], strict=True)) | {term["word"]: STRENGTHS}
        gained += term["weight"] * max(stands.get(word, 0) for word in own) / STRENGTHS
    return gained / sum(term["weight"] for term in terms)


def advantages(replies: Sequence[Judged], group: int, of_reply: float) -> list[tuple[list[float], float]]:
    """For each reply: the advantage of each of its rewrites, and that of the reply, which counts for all of its words.

    A_j = (worth_j - mean) / spread over all rewrites of the `group` replies to a query, plus of_reply times the same of the replies.
    """
    found = []
    for start in range(0, len(replies), group):
        mine = replies[start : start + group]
        whole = [of_reply * a for a in standardised([reply.whole for reply in mine])]
        each = iter(standardised([worth for reply in mine for worth in reply.worth]))
        found += [([next(each) + all_of for _ in reply.worth], all_of) for reply, all_of in zip(mine, whole, strict=True)]
    return found


def standardised(values: Sequence[float]) -> list[float]:
    """(value - mean) / spread; 0 for values that are all the same, also in the last digit alone."""
    given = np.array(values, dtype=np.float64)
    return ((given - given.mean()) / (given.std() + 1e-4)).tolist() if len(given) else []


def credit(ends: Sequence[int], spans: Sequence[tuple[int, int]], each: Sequence[float], whole: float) -> list[float]:
    """The advantage of each token, given where the text ends after it: of the rewrite that it writes a part of, else of the reply."""
    starts, found = [0, *ends[:-1]], []
    for start, end in zip(starts, ends, strict=True):
        own = [a for (first, last), a in zip(spans, each, strict=True) if start < last and end > first]
        found.append(own[0] if own else whole)
    return found
