import pytest

from jobs.generate import generated, wanted
from jobs.messages import UsageError

KNOWN = ("sessions", "feedback", "model", "endpoint")
NOTHING = {"model": None, "endpoint": None, "replies": None, "budget_tokens": None, "prices": None}


def test_rewriters_are_those_named_or_those_that_have_what_they_need():
    assert wanted(None, None, None, KNOWN) == ["sessions", "feedback"]
    assert wanted(None, "models/tiny", None, KNOWN) == ["sessions", "feedback", "model"]
    assert wanted("endpoint,sessions", None, "tiny", KNOWN) == ["sessions", "endpoint"]  # in order of precedence
    with pytest.raises(UsageError, match="no rewriter session; there are sessions, feedback, model, endpoint"):
        wanted("session", None, None, KNOWN)


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("model", {}, "no --model"),
        ("endpoint", {"endpoint": "tiny"}, "no --replies FOLDER, --budget-tokens N"),
        ("endpoint", {"endpoint": "tiny", "replies": "r", "budget_tokens": 9, "prices": "cheap"}, "must be two numbers"),
    ],
)
def test_what_a_rewriter_needs_is_asked_for_by_name(name, given, message):
    with pytest.raises(UsageError, match=message):
        generated(name, None, **(NOTHING | given))
