"""Words of a text that a model wrote, as `features.text.words` finds them in texts of tables: the same words for the same text."""

import regex

FULL_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x3000: 0x20}
SPACES = regex.compile(r"[\s\p{Z}\p{Cc}\p{Cf}]+")
UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}"
WORD = regex.compile(rf"(?V1)[{UNSPACED}]|[[\p{{L}}\p{{M}}\p{{N}}]--[{UNSPACED}]]+")


def norm_query(text: str) -> str:
    """The text in lower case, full-width characters as usual ones, with single spaces and none at the ends."""
    return SPACES.sub(" ", text.translate(FULL_WIDTH).lower()).strip(" ")


def words(text: str) -> list[str]:
    """The different words of the normalised text, in order; the whole text where it has no letter or digit; none of an empty one."""
    normal = norm_query(text)
    return list(dict.fromkeys(WORD.findall(normal) or ([normal] if normal else [])))
