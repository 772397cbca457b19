"""Records of text files, line by line, with their line numbers; and, apart from that, how many records a text has.

`records` parses, `count` only looks for where records end: ingest compares what they find. Both read bytes, so that no line is lost
to its encoding.
"""

import csv
import json
import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

BOM = b"\xef\xbb\xbf"
MAX_RECORD_LINES = 100  # a quote that is not closed within as many lines never will be: it spoils its own line, not the file
MAX_FIELD_BYTES = 1 << 26


@dataclass(frozen=True)
class Record:
    """One record of a text file: its first line from 1, its text, and its values by name, or else what is wrong with it."""

    line: int
    raw: str
    values: dict[str, Any] | None
    fault: str | None = None


def text_of(line: bytes) -> tuple[str, bool]:
    """The line as text, and whether it was UTF-8; what was not is shown as escapes."""
    try:
        return line.decode("utf-8"), True
    except UnicodeDecodeError:
        return line.decode("utf-8", "backslashreplace"), False


def records(lines: Iterable[bytes], kind: str, delimiter: str = ",") -> Iterator[Record]:
    """Every record that is not blank. `kind` is jsonl or csv; a csv's first record holds the names.

    Values: of csv, text, null where empty; of jsonl, as json.loads gives them, but numbers as they are written.
    """
    numbered = enumerate(_without_bom(lines), 1)
    return _json_records(numbered) if kind == "jsonl" else _csv_records(numbered, delimiter)


def _without_bom(lines: Iterable[bytes]) -> Iterator[bytes]:
    for number, line in enumerate(lines):
        yield line.removeprefix(BOM) if number == 0 else line


def _json_records(lines: Iterable[tuple[int, bytes]]) -> Iterator[Record]:
    for number, line in lines:
        text, is_utf8 = text_of(line)
        text = text.strip()
        if not text:
            continue
        values, fault = None, None if is_utf8 else "not UTF-8"
        if is_utf8:
            try:
                values = json.loads(text, parse_float=str, parse_int=str, parse_constant=str)
            except (ValueError, RecursionError) as error:
                fault = f"no JSON: {error}"
            if fault is None and not isinstance(values, dict):
                values, fault = None, f"a JSON {type(values).__name__}, must be an object"
        yield Record(number, text, values, fault)


class _UnclosedQuoteError(Exception):
    """A quoted field does not end where a record has to."""


class _Feed:
    """Lines for csv.reader, which remembers those of the current record and can take them back."""

    def __init__(self, lines: Iterable[tuple[int, bytes]]) -> None:
        self.coming, self.ahead = iter(lines), deque[tuple[int, bytes]]()
        self.taken: list[tuple[int, bytes]] = []

    def __iter__(self) -> "_Feed":
        return self

    def __next__(self) -> str:
        if len(self.taken) >= MAX_RECORD_LINES:
            raise _UnclosedQuoteError
        line = self.ahead.popleft() if self.ahead else next(self.coming, None)
        if line is None:
            raise _UnclosedQuoteError if self.taken else StopIteration
        self.taken.append(line)
        text = text_of(line[1])[0]
        body = text.rstrip("\r\n")
        return body.replace("\r", " ") + text[len(body) :]  # a return inside a line ends no record

    def take_back_all_but_first(self) -> None:
        self.ahead.extendleft(reversed(self.taken[1:]))
        del self.taken[1:]


def _csv_rows(lines: Iterable[tuple[int, bytes]], delimiter: str) -> Iterator[tuple[int, str, list[str] | None, str | None]]:
    """Line number, text, fields or null, fault or null of every record that is not blank."""
    csv.field_size_limit(MAX_FIELD_BYTES)
    feed = _Feed(lines)
    reader = csv.reader(feed, delimiter=delimiter)
    while True:
        feed.taken.clear()
        fields, fault = None, None
        try:
            fields = next(reader)
        except StopIteration:
            return
        except _UnclosedQuoteError:
            feed.take_back_all_but_first()
            fault = "a quote is opened and not closed"
        except csv.Error as error:
            fault = f"no CSV: {error}"
        parts = [text_of(line) for _, line in feed.taken]
        raw = "".join(text for text, _ in parts).strip("\r\n")
        if not all(is_utf8 for _, is_utf8 in parts):
            fields, fault = None, "not UTF-8"
        if raw.strip():
            yield feed.taken[0][0], raw, fields, fault


def _csv_records(lines: Iterable[tuple[int, bytes]], delimiter: str) -> Iterator[Record]:
    rows = _csv_rows(lines, delimiter)
    names = header_names(next(rows, (0, "", [], None)))
    for number, raw, fields, fault in rows:
        if fields is not None and len(fields) != len(names):
            fields, fault = None, f"{len(fields)} fields, the first line names {len(names)}"
        yield Record(number, raw, fields and {name: value or None for name, value in zip(names, fields, strict=True)}, fault)


def header_names(row: tuple[int, str, list[str] | None, str | None]) -> list[str]:
    """The names that a csv's first record holds. Raises ValueError when it is none, or a name comes twice."""
    _, raw, fields, fault = row
    if "\r" in raw:
        raise ValueError("its lines end in a carriage return alone; end them with a newline")
    if fault:
        raise ValueError(f"its first line holds no names: {fault}")
    names = [name.strip() for name in fields or []]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"its first line names {', '.join(map(repr, twice))} twice: {raw[:200]}")
    return names


def csv_header(lines: Iterable[bytes], delimiter: str) -> list[str]:
    """Names of the columns of a csv; none when it has no line. Raises ValueError as `header_names`."""
    return header_names(next(_csv_rows(enumerate(_without_bom(lines), 1), delimiter), (0, "", [], None)))


def count(lines: Iterable[bytes], kind: str, delimiter: str = ",") -> int:
    """Records that are not blank, a csv's first line not counted: by counting line ends outside of quotes, no record is read."""
    if kind == "jsonl":
        return sum(1 for n, line in enumerate(lines) if not _is_blank(line.removeprefix(BOM) if n == 0 else line))
    sep = re.escape(delimiter.encode())
    field = rb'(?:"(?:[^"]++|"")*+"[^%b\n]*+|[^"%b\n][^%b\n]*+|)' % (sep, sep, sep)
    whole = re.compile(rb"%b(?:%b%b)*+\n?" % (field, sep, field))
    return max(0, _count_whole(_without_bom(lines), whole) - 1)


def _is_blank(line: bytes) -> bool:
    return not text_of(line)[0].strip()


def _count_whole(lines: Iterator[bytes], whole: re.Pattern[bytes]) -> int:
    found, ahead = 0, deque[bytes]()
    while (line := ahead.popleft() if ahead else next(lines, None)) is not None:
        if b'"' in line and not whole.fullmatch(line):
            _skip_record(line, ahead, lines, whole)
        found += not _is_blank(line)
    return found


def _skip_record(line: bytes, ahead: deque[bytes], lines: Iterator[bytes], whole: re.Pattern[bytes]) -> None:
    """Drop the lines that go on with a record, if one of them ends it."""
    for num_lines in range(1, MAX_RECORD_LINES):
        if len(ahead) < num_lines:
            following = next(lines, None)
            if following is None:
                return
            ahead.append(following)
        if whole.fullmatch(line + b"".join(list(ahead)[:num_lines])):
            for _ in range(num_lines):
                ahead.popleft()
            return
