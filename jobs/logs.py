"""Log lines: one for each step of a table-day, as `message key=value ...` or, with `SLUICE_LOG=json`, as a JSON object.

They go to standard error. A person at a terminal is spared them unless `SLUICE_LOG=text` asks for them; `SLUICE_LOG=off` leaves
out the steps anywhere. What a command answers and what went wrong is told in words, as ever (and with `json` as lines too).
"""

import json
import logging
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

SETTING = "SLUICE_LOG"
FORMS = ("text", "json", "off")

log = logging.getLogger("sluice")


def form() -> str:
    """How lines are written: text, json, or off. Another word in the setting is told once, by `configure`."""
    asked = os.environ.get(SETTING, "").strip().lower()
    return asked if asked in FORMS else "off" if sys.stderr.isatty() else "text"


def configure() -> None:
    """Send log lines to standard error, unless the program that runs us has set up its own logging."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Lines())
    handler.addFilter(lambda record: form() != "off" or not hasattr(record, "facts"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("py4j").setLevel(logging.WARNING)
    asked = os.environ.get(SETTING, "")
    if asked.strip().lower() not in ("", *FORMS):
        log.warning("%s is %r, which is none of %s; it is ignored", SETTING, asked, ", ".join(FORMS))


def step(what: str, **facts: Any) -> None:
    """One line of what a run did, with its figures; those that are None are left out."""
    log.info(what, extra={"facts": {name: value for name, value in facts.items() if value is not None}})


def named(draft: Mapping[str, Any]) -> dict[str, Any]:
    """What every line of a run begins with."""
    return {name: draft[name] for name in ("table", "day", "run_id")}


class Lines(logging.Formatter):
    """One line for each record, whatever is in it; its facts follow the message."""

    def format(self, record: logging.LogRecord) -> str:
        at, facts = datetime.fromtimestamp(record.created, UTC), getattr(record, "facts", {})
        trace = self.formatException(record.exc_info) if record.exc_info else None
        if form() == "json":
            line = {"at": at.isoformat(timespec="milliseconds"), "level": record.levelname.lower(), "event": record.getMessage()}
            return json.dumps(line | facts | ({"trace": trace} if trace else {}), default=str, ensure_ascii=False)
        words = [f"{at:%H:%M:%S}", record.getMessage(), *(f"{name}={_value(value)}" for name, value in facts.items())]
        return " ".join(words) + (f"\n{trace}" if trace else "")


def _value(value: Any) -> str:
    """A value after `key=`: as it is if that is one word, else as JSON."""
    text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    is_word = text and not any(c.isspace() or c in '"=' for c in text)
    return text if is_word or not isinstance(value, str) else json.dumps(value, ensure_ascii=False)
