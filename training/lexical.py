"""Retrieval by words alone, to stand beside a model: BM25, and BM25 of a query expanded by what it finds (RM3).

BM25 is that of bm25s (Lucene's form). RM3, Abdul-Jaleel et al. 2004: P(w) is lambda P(w | query), and (1 - lambda) times the mean of
P(w | title) over the first n titles, weighted by exp(score), of which the m likeliest words are kept; n, m, lambda as in Anserini.
"""

# V words, I items
from collections import Counter
from collections.abc import Mapping, Sequence

import bm25s
import numpy as np

K1, B = 1.5, 0.75
TITLES, WORDS, OWN = 10, 10, 0.5
"""First titles that an expansion reads, words that it keeps, and the weight lambda of the query's own words."""


class Lexical:
    """Titles, indexed once."""

    def __init__(self, titles: Sequence[Sequence[str]]) -> None:
        index = bm25s.BM25(k1=K1, b=B)
        index.index([list(words) for words in titles], show_progress=False)
        self.titles, self.ids = titles, index.vocab_dict
        self.values, self.items, self.starts = (index.scores[name] for name in ("data", "indices", "indptr"))

    def scores(self, weights: Mapping[str, float]) -> np.ndarray:
        """scores_I of weighted words; words that no title has add nothing."""
        scores_I = np.zeros(len(self.titles), dtype=np.float64)
        for word, weight in weights.items():
            if word in self.ids:
                span = slice(*self.starts[self.ids[word] : self.ids[word] + 2])
                scores_I[self.items[span]] += weight * self.values[span]
        return scores_I

    def expanded(self, words: Sequence[str]) -> dict[str, float]:
        """The query's words with those of the titles that it finds, weighted; the query alone where it finds nothing."""
        own = {word: num / len(words) for word, num in Counter(words).items()}
        scores_I = self.scores(Counter(words))
        first = np.lexsort((np.arange(len(scores_I)), -scores_I))[:TITLES]
        first = first[scores_I[first] > 0]
        if not len(first):
            return own
        chances = np.exp(scores_I[first] - scores_I[first[0]])
        found: Counter[str] = Counter()
        for title, chance in zip(first, chances / chances.sum(), strict=True):
            for word in self.titles[title]:
                found[word] += chance / len(self.titles[title])
        kept = sorted(found, key=lambda word: (-found[word], word))[:WORDS]
        total = sum(found[word] for word in kept)
        mixed = {word: OWN * chance for word, chance in own.items()}
        return mixed | {word: mixed.get(word, 0.0) + (1 - OWN) * found[word] / total for word in kept}
