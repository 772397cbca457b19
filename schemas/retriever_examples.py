"""Contract of `retriever_examples`: what a two-tower retriever learns from and is measured on, all of it in one snapshot of a day."""

from schemas.contract import Account, Column, Contract, Elements, Input, Total

KINDS = ("log", "synthetic", "evaluation", "catalogue")
SOURCES = ("negated", "shown")
"""Of hard negatives, the surest first."""
TOKENS = 1 << 17
"""Token ids lie in [1, TOKENS)."""
WORDS_IN_QUERY, PARTS_IN_QUERY = 16, 64
WORDS_IN_TITLE, PARTS_IN_TITLE = 32, 128
"""Words and three-letter parts that are kept of a text, the first ones."""

CONTRACT = Contract(
    name="retriever_examples",
    grain=("kind", "query_norm", "item_id"),
    owner="retrieval",
    keep_days=60,
    version=1,
    may_be_empty=True,
    doc="One row per query and item to learn from (observed, synthetic) or to be measured on, and one per item on the shelf.",
    source="Synthetic data for long-tail retrieval (arXiv 2602.23620); weights, tokens and hard negatives are our choice",
    elements=Elements("hard_negatives", key="item_id"),
    inputs=(
        Input("query_item_stats", accounts=(Account("observed", fates=("log", "evaluation", "off_shelf", "no_title")),)),
        Input("synthetic_pairs", accounts=(Account("pairs", fates=("synthetic", "in_log", "evaluation_query", "no_title")),)),
        Input("items", accounts=(Account("items", fates=("catalogue", "off_shelf", "no_title")),)),
        Input("query_stats"),
        Input("requests", window=(-6, 1)),  # shown and not clicked
    ),
    totals=tuple(Total(f"num_{kind}", f"if(kind = '{kind}', 1, 0)") for kind in KINDS),
    columns=(
        Column("day", "date", "Day of the snapshot and last of the windows behind it, UTC; the partition."),
        Column("kind", "string", "log, synthetic: to learn from; evaluation: observed, of a query kept for it; catalogue: on the shelf."),
        Column("query_norm", "string", "Query after features.text.norm_query; empty for catalogue.", personal=True),
        Column("item_id", "string", "Key of items."),
        Column("query_hash", "bigint", "xxhash64 of query_norm; 0 for catalogue."),
        Column("item_hash", "bigint", "xxhash64 of item_id."),
        Column("query_tokens", "array<int>", f"Words, pairs and parts of the query, hashed, in [1, {TOKENS}); none for catalogue."),
        Column("item_tokens", "array<int>", f"The same of the title, in [1, {TOKENS})."),
        Column("weight", "float", "Factor in the loss, > 0: log2(1 + clicks + pays); of synthetic pairs capped; 1 for other kinds."),
        Column(
            "hard_negatives",
            "array<struct<item_id string not null, item_hash bigint not null, source string not null>>",
            "Items of the catalogue that this query should not find: negated (the title has a word that the query excludes), shown "
            "(often on its pages, never clicked). None for evaluation and catalogue.",
        ),
        Column(
            "segment", "string", "head, torso or tail by traffic; null for catalogue. As all below never read by a model.", nullable=True
        ),
        Column("hardness", "string", "Hardness type of the query; null for catalogue and where it was not searched.", nullable=True),
        Column("num_clicks_28d", "bigint", "Credited clicks and pays of the pair; null for synthetic and catalogue.", nullable=True),
        Column("rewriter", "string", "What wrote the rewrite; null but for synthetic.", nullable=True),
        Column("channel", "string", "What found the item; null but for synthetic.", nullable=True),
        Column("is_new", "boolean", "The query alone did not find it; null but for synthetic.", nullable=True),
        Column("p_business", "double", "Business relevance, in [0, 1]; null but for synthetic.", nullable=True),
        Column("p_general", "double", "General relevance, in [0, 1]; null but for synthetic.", nullable=True),
    ),
)
