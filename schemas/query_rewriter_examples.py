"""Contract of `query_rewriter_examples`: what a language model learns to rewrite rare queries from, all of it in one snapshot of a day.

The columns are those that TRL reads: `prompt` and `completion` of kind sft, `prompt` and what reward functions take of kind grpo.
Messages, not plain text: a model's own chat form can be made of messages, and messages cannot be made of text that has another form.
"""

from schemas.contract import Account, Column, Contract, Input, Total

KINDS = ("sft", "grpo", "catalogue")
NUM_REWRITES = 5
"""Rewrites that are asked for, and at most taught, in one reply. Of the notes on arXiv 2602.23620."""
MESSAGES = "array<struct<role string not null, content string not null>>"

CONTRACT = Contract(
    name="query_rewriter_examples",
    grain=("kind", "query_norm", "item_id"),
    owner="retrieval",
    keep_days=60,
    version=1,
    may_be_empty=True,
    doc="One row per query with the rewrites to say, one per query to be rewarded on, and one per item that rewrites can find.",
    source="Synthetic Data Powers Product Retrieval (arXiv 2602.23620), training of its rewriter; what is good enough is our choice",
    inputs=(
        Input("query_rewrites", accounts=(Account("rewrites", fates=("taught", "no_pair", "capped", "evaluation")),)),
        Input("synthetic_pairs", accounts=(Account("pairs", fates=("good", "off_shelf", "evaluation")),)),
        Input("items", accounts=(Account("items", fates=("catalogue", "off_shelf", "no_title")),)),
        Input("query_item_stats"),
        Input("requests", window=(-27, 1)),  # words that stand for words
        Input("attributions", window=(-27, 1)),
    ),
    totals=tuple(Total(f"num_{kind}", f"if(kind = '{kind}', 1, 0)") for kind in KINDS),
    columns=(
        Column("day", "date", "Day of the snapshot and last of the windows behind it, UTC; the partition."),
        Column("kind", "string", "sft: a reply to learn; grpo: a query whose replies are rewarded; catalogue: what rewrites can find."),
        Column("query_norm", "string", "Query after features.text.norm_query, none of evaluation; empty for catalogue.", personal=True),
        Column("item_id", "string", "Key of items; empty but for catalogue."),
        Column("prompt", MESSAGES, "What a model is asked, as query_rewrites asks it; null for catalogue.", nullable=True, personal=True),
        Column("completion", MESSAGES, "The reply: one line of rewrites, the best first; null but for sft.", nullable=True, personal=True),
        Column("rewriters", "array<string>", "Who wrote each rewrite of the reply, in its order; null but for sft.", nullable=True),
        Column(
            "terms",
            "array<struct<word string not null, weight int not null, targets array<string> not null, strengths array<int> not null>>",
            "Words of the query, how much each weighs, and the words that stand for it in the log, in 1e-4ths; null but for grpo.",
            nullable=True,
            personal=True,
        ),
        Column("excluded", "array<string>", "Words that the query does not want; null but for grpo.", nullable=True, personal=True),
        Column("good_items", "array<string>", "Items on the shelf that the query should find; null but for grpo.", nullable=True),
        Column("hardness", "string", "Type of the query, as in query_stats; null for catalogue or without a rewrite.", nullable=True),
        Column("title_words", "array<string>", "Different words of the title; null but for catalogue.", nullable=True),
    ),
)
