"""A shop whose customers say h3 where titles say p3: rows of query_rewriter_examples, and a small language model that knows nothing yet."""

import random

from features.generated import instruction, request
from schemas.query_rewriter_examples import NUM_REWRITES

KINDS_OF_ITEM, COLOURS, ITEMS_EACH = 6, 12, 3
WORDS = [f"{letter}{n}" for letter in "hp" for n in range(KINDS_OF_ITEM)] + [f"c{n}" for n in range(COLOURS)] + ["s0", "s1", "s2"]


def prompt(query):
    return [{"role": "system", "content": instruction(NUM_REWRITES)}, {"role": "user", "content": request([query])}]


def goal(kind, colour):
    """h<kind> c<colour> asks for items with p<kind> and c<colour> in their titles."""
    terms = [{"word": f"h{kind}", "weight": 200, "targets": [f"p{kind}"], "strengths": [9000]}]
    terms.append({"word": f"c{colour}", "weight": 100, "targets": [], "strengths": []})
    good = [f"i{kind}-{colour}-{n}" for n in range(ITEMS_EACH)]
    return {"query_norm": f"h{kind} c{colour}", "terms": terms, "excluded": [], "good_items": good}


def catalogue():
    places = [(k, c, n) for k in range(KINDS_OF_ITEM) for c in range(COLOURS) for n in range(ITEMS_EACH)]
    return [{"item_id": f"i{k}-{c}-{n}", "title_words": [f"p{k}", f"c{c}", f"s{n}"]} for k, c, n in places]


def world(seed=1):
    """All rows. A reply to learn says two of three rewrites: a good one, one without the colour, one without the product."""
    draw, rows = random.Random(seed), [{"kind": "catalogue", "query_norm": "", **row} for row in catalogue()]
    for kind in range(KINDS_OF_ITEM):
        for colour in range(COLOURS):
            asked = goal(kind, colour)
            rest = {"prompt": prompt(asked["query_norm"]), "item_id": "", "hardness": "knowledge"}
            rows.append({"kind": "grpo", **asked, **rest})
            said = draw.sample([f"p{kind} c{colour}", f"p{kind} s{draw.randrange(3)}", f"c{colour} s{draw.randrange(3)}"], 2)
            reply = [{"role": "assistant", "content": f"1: {' | '.join(said)}"}]
            rows.append({"kind": "sft", "query_norm": asked["query_norm"], "completion": reply, "rewriters": ["feedback"] * 2, **rest})
    return rows


def tiny_model(folder, seed=3):
    """A causal language model of random weights over the words of this world, without a chat form; 60,000 numbers."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    spoken = sorted({*instruction(NUM_REWRITES).split(), "1:", "|", *WORDS})
    vocabulary = {word: n for n, word in enumerate(["<pad>", "<unk>", "<eos>", *spoken])}
    raw = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="<pad>", unk_token="<unk>", eos_token="<eos>")
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(vocabulary), hidden_size=48, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, pad_token_id=0,
        bos_token_id=None, eos_token_id=2, initializer_range=0.2,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)
