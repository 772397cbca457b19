import pytest

from features.generated import ANSWERED, MALFORMED, REFUSED, instruction, parts, replies_of_model, request, rewrites_in

REPLIES = {
    "1: desk lamp | led lamp\n2: red scarf": [(ANSWERED, "desk lamp | led lamp"), (ANSWERED, "red scarf")],
    "Sure:\n\n2) red scarf|scarf\n**1.** desk lamp": [(ANSWERED, "** desk lamp"), (ANSWERED, "red scarf|scarf")],
    "1: desk lamp": [(ANSWERED, "desk lamp"), (MALFORMED, "")],
    "1: | |\n2: \n3: lamp": [(MALFORMED, ""), (MALFORMED, "")],
    "desk lamp, led lamp": [(MALFORMED, "")] * 2,
    "": [(MALFORMED, "")] * 2,
    "I'm sorry, I can't help with that.": [(REFUSED, "")] * 2,
    "1: I cannot assist with this\n2: red scarf": [(REFUSED, ""), (ANSWERED, "red scarf")],
    "1: " + "x" * 201 + "\n2: ok": [(MALFORMED, ""), (ANSWERED, "ok")],
}


@pytest.mark.parametrize("text", REPLIES)
def test_a_reply_is_answered_refused_or_malformed_for_each_query(text):
    assert parts(text, 2) == REPLIES[text]


def test_a_reply_to_one_query_may_leave_its_number_out():
    assert parts("desk lamp | led lamp", 1) == [(ANSWERED, "desk lamp | led lamp")]
    assert parts("desk lamp", 1) == [(MALFORMED, "")]


def test_rewrites_lose_quotes_bullets_and_repetitions():
    assert rewrites_in(' "desk lamp" | - led lamp|desk lamp <sep> ** scarf | ') == ["desk lamp", "led lamp", "scarf"]


def test_queries_are_numbered_and_the_number_of_rewrites_is_told():
    assert request(["warm seat", "🙂"]) == "1: warm seat\n2: 🙂"
    assert "up to 4 rewrites" in instruction(4)


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory):
    """A causal language model of random weights over the words of its own prompts, a few kilobytes."""
    pytest.importorskip("transformers", reason="transformers is not installed: make training")
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = sorted({*instruction(2).split(), *request(["warm seat lamp without cord desk | scarf"]).split()})
    vocabulary = {word: n for n, word in enumerate(["<pad>", "<unk>", "<eos>", *words])}
    raw = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="<pad>", unk_token="<unk>", eos_token="<eos>")
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=len(vocabulary), hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, pad_token_id=0,
        bos_token_id=2, eos_token_id=2,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("model")
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def test_a_model_replies_to_each_query_in_order_and_always_alike(tiny_model):
    queries = ["warm seat", "lamp without cord", "scarf", "🙂", "x" * 10_000]
    replies = replies_of_model(tiny_model, queries, num_rewrites=2, batch=2)
    assert len(replies) == 5
    assert replies == replies_of_model(tiny_model, queries, num_rewrites=2, batch=2)
    assert all(said.status in (ANSWERED, MALFORMED) and 0 < said.completion_tokens <= 32 for said in replies)
    told = len(instruction(2).split())
    assert [said.prompt_tokens for said in replies] == [told + n for n in (3, 4, 2, 2, 2)]  # the number of the line is a word


def test_a_folder_without_a_model_is_an_error_that_names_it(tmp_path):
    pytest.importorskip("transformers", reason="transformers is not installed: make training")
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(OSError, match=f"{folder} holds no causal language model"):
            replies_of_model(str(folder), ["lamp"], num_rewrites=2, batch=1)
