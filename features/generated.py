"""What a language model is asked for rewrites, what its reply says, and the rewriter that runs a model itself.

Several rewrites come in one reply, so that they differ from each other (arXiv 2602.23620). The words of the request are our choice.
"""

import re
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

SEPARATOR = "|"
ANSWERED, REFUSED, MALFORMED, OVER_BUDGET = "answered", "refused", "malformed", "over_budget"
FAILURES = (REFUSED, MALFORMED, OVER_BUDGET)
LONGEST = 200  # characters of a rewrite; longer text is no query
TOKENS_PER_REWRITE = 16
INSTRUCTION = (
    "You rewrite searches of a shop whose search engine only matches words of product titles. For each numbered search write up to "
    "{num} rewrites: names and properties of products that answer it, in the words of product titles, 1 to 6 words each. Keep what is "
    "wanted, leave out what is excluded, add no brand. Answer each search with one line, its number, a colon, and the rewrites with "
    f"{SEPARATOR} between. Write nothing else."
)
_LINE = re.compile(r"^\W*(\d+)\s*[.:)\]-]\s*(.*)$")
_REFUSAL = re.compile(
    r"\b(i'?m sorry|i am sorry|i apologi[sz]e|i can(no|'?)t|i('?m| am) unable|as an ai|against my|not able to (help|assist))\b|抱歉|无法",
    re.I,
)


class Reply(NamedTuple):
    """What a model said to one query, and what it cost."""

    status: str
    text: str
    prompt_tokens: int
    completion_tokens: int


def instruction(num_rewrites: int) -> str:
    """What the model is told before the queries."""
    return INSTRUCTION.format(num=num_rewrites)


def request(queries: Sequence[str]) -> str:
    """The queries as the model is asked them: numbered lines."""
    return "\n".join(f"{number}: {query}" for number, query in enumerate(queries, 1))


def parts(text: str, num_queries: int) -> list[tuple[str, str]]:
    """Status and line of each query in a reply: answered, refused (the reply apologises) or malformed (it has no such line).

    A reply to one query may leave its number out.
    """
    found = {int(m.group(1)): m.group(2) for line in text.splitlines() if (m := _LINE.match(line.strip()))}
    if num_queries == 1 and not found and SEPARATOR in text:
        found = {1: next(line for line in text.splitlines() if SEPARATOR in line)}
    is_refusal = bool(_REFUSAL.search(text))
    missing = (REFUSED if is_refusal else MALFORMED, "")
    said = {n: (ANSWERED, line) for n, line in found.items() if rewrites_in(line) and not _REFUSAL.search(line)}
    return [said.get(n, (REFUSED, "") if n in found and _REFUSAL.search(found[n]) else missing) for n in range(1, num_queries + 1)]


def rewrites_in(line: str) -> list[str]:
    """The different rewrites of a line, without quotes, bullets and empty ones; none of them longer than LONGEST."""
    texts = (text.strip(" \t\"'`*-•[]").strip() for text in line.replace("<sep>", SEPARATOR).split(SEPARATOR))
    return list(dict.fromkeys(text for text in texts if text and len(text) <= LONGEST))


def replies_of_model(folder: str, queries: Sequence[str], num_rewrites: int, batch: int) -> list[Reply]:
    """Greedy replies of the causal language model in a folder, one query a prompt, `batch` prompts at a time in the given order.

    The order and the batch decide how prompts are padded, and so the last digits of every sum: keep both for the same replies.
    Raises: OSError when the folder holds no model, ImportError when transformers is not installed.
    """
    import torch

    tokenizer, model = _model(folder)
    replies: list[Reply] = []
    for start in range(0, len(queries), batch):
        prompts = [_prompt(tokenizer, query, num_rewrites) for query in queries[start : start + batch]]
        form = {"padding": True, "add_special_tokens": not tokenizer.chat_template}  # a chat form has them in its text
        inputs = tokenizer(prompts, return_tensors="pt", return_token_type_ids=False, **form).to(model.device)
        with torch.inference_mode():
            output = model.generate(**inputs, do_sample=False, num_beams=1, max_new_tokens=num_rewrites * TOKENS_PER_REWRITE)
        said = output[:, inputs["input_ids"].shape[1] :]
        asked = inputs["attention_mask"].sum(dim=1).tolist()
        for text, tokens, num_asked in zip(tokenizer.batch_decode(said, skip_special_tokens=True), said, asked, strict=True):
            status, line = parts(text, 1)[0]
            replies.append(Reply(status, line, num_asked, int((tokens != tokenizer.pad_token_id).sum())))
    return replies


def _prompt(tokenizer: Any, query: str, num_rewrites: int) -> str:
    """The prompt of one query, in the model's own chat form where it has one."""
    told, asked = instruction(num_rewrites), request([query])
    if not tokenizer.chat_template:
        return f"{told}\n{asked}\n"
    chat = [{"role": "system", "content": told}, {"role": "user", "content": asked}]
    return tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)


@cache
def _model(folder: str) -> tuple[Any, Any]:
    """Tokenizer and model, loaded once in each worker; on the GPU where there is one."""
    try:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer
    except ImportError as error:
        raise ImportError(
            f"the model {folder} needs transformers and torch on every worker: pip install 'sluice-data[training]'"
        ) from error
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left", local_files_only=True)
        model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise OSError(
            f"{folder} holds no causal language model that transformers reads: {str(error).splitlines()[0]}; give its folder"
        ) from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer, model.eval().to("cuda" if torch.cuda.is_available() else "cpu")
