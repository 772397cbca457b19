"""Configuration of HHSFT and its baselines, and the functions that make one."""

from dataclasses import dataclass, replace

DOMAINS = ("search", "rec", "shop")
"""In the order of domain_id, which counts from 1."""
MODELS = ("hhsft", "hhfi", "rankmixer", "dlrm")
STAGES = ("exposed", "unexposed", "attributed", "entire_space")
"""What is learnt from, each with all before it: exposed samples with native labels; unexposed ones; labels credited from all
domains; pseudo-requests. The steps of ES3."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything that decides the weights, beside the data and the seed."""

    model: str = "hhsft"
    """One of MODELS; all read the same tokens."""
    has_dref: bool = True
    """Experts per domain beside the shared one; without effect but in hhsft and hhfi, which leaves it out."""
    has_dapga: bool = True
    """Attention over what the domains' experts say, gated by user and domain; as has_dref."""
    d_embedding: int = 16
    """Width of an embedding, all features alike."""
    table_rows: int = 1 << 20
    """Most rows of an embedding table; larger ids are folded into it. Without effect above the features' sizes."""
    tokens: tuple[tuple[str, int], ...] = (("user", 4), ("item", 4), ("query", 2), ("sequence", 4), ("domain", 1))
    """Tokens of each group of features. Those of `sequence` are as many heads of attention."""
    d_sequence: int = 16
    """Width of a head of the attention from an item to the user's behaviours."""
    d_H: int = 128
    """Width of a token; the knob of HFA."""
    d_G: int = 64
    """Width of a token within GFA; the knob of GFA."""
    d: int = 256
    """Width of h, of the experts and of what the heads read."""
    num_heads: int = 4
    """Heads of attention in HFA and GFA; divides d_H and d_G."""
    num_hfa: int = 2
    """Layers of HFA; one GFA follows."""
    num_mixer: int = 2
    """Layers of RankMixer; without effect elsewhere."""
    ffn_ratio: int = 2
    """Inner width of SwiGLU, in widths of its input."""
    low_rank: int = 64
    """Rank of the composite projections of GFA."""
    low_rank_above: int = 4096
    """Width T * d_H above which they are of low rank."""
    domain_weights: tuple[float, float, float] = (1.0, 0.5, 0.5)
    """Weights of the losses of search, rec and shop."""
    stage: str = "entire_space"
    """One of STAGES."""
    lr_sparse: float = 0.05
    """Learning rate of Adagrad, for embeddings."""
    lr_dense: float = 1e-4
    """Learning rate of AdamW, for all other weights."""
    weight_decay: float = 0.01
    """Of AdamW."""
    init_std: float = 0.01
    """Standard deviation of embeddings at the start."""
    requests_per_batch: int = 256
    """Requests of a global batch."""
    epochs: int = 1
    """Passes over the data; more than one overfits hashed ids."""

    def __post_init__(self) -> None:
        problems = [f"model is {self.model!r}, one of {', '.join(MODELS)}"] if self.model not in MODELS else []
        problems += [f"stage is {self.stage!r}, one of {', '.join(STAGES)}"] if self.stage not in STAGES else []
        uneven = [name for name in ("d_H", "d_G") if getattr(self, name) % self.num_heads]
        problems += [f"{name} is {getattr(self, name)}, not a multiple of num_heads = {self.num_heads}" for name in uneven]
        if problems:
            raise ValueError("hhsft: " + "; ".join(problems))

    @property
    def num_tokens(self) -> int:
        return sum(count for _, count in self.tokens)


def tiny() -> Config:
    """For tests and small lakes: ten steps a second on a core. Few steps need larger ones: lr_dense."""
    small = {"d_embedding": 8, "table_rows": 1 << 15, "d_sequence": 8, "d_H": 32, "d_G": 16, "d": 64}
    return Config(**small, num_heads=2, num_hfa=1, lr_dense=2e-3, requests_per_batch=32)


def base() -> Config:
    return Config()


def large() -> Config:
    return Config(d_embedding=32, d_sequence=32, d_H=256, d_G=128, num_heads=8, d=512, requests_per_batch=1024)


SIZES = {"tiny": tiny, "base": base, "large": large}


def config(size: str = "tiny", **changes: object) -> Config:
    """A size by name, changed. hhfi is hhsft without its modules for domains."""
    made = replace(SIZES[size](), **changes)
    return replace(made, has_dref=False, has_dapga=False) if made.model == "hhfi" else made
