import io
import random

import pytest

from jobs.sources._text import MAX_RECORD_LINES, count, csv_header, records


def read(text, kind="csv", **options):
    data = text if isinstance(text, bytes) else text.encode()
    found = list(records(io.BytesIO(data), kind, **options))
    assert count(io.BytesIO(data), kind, **options) == len(found)
    return [(r.line, r.values if r.fault is None else r.fault, r.raw) for r in found]


def test_csv_with_mark_returns_quotes_and_newlines_inside():
    text = '\ufeffid , title\r\n1,"Desk, ""oak""\r\n2 m"\r\n\r\n2,5" shelf\n   \n3,\n4,"naïve 机"'
    assert [each[:2] for each in read(text)] == [
        (2, {"id": "1", "title": 'Desk, "oak"\r\n2 m'}),
        (5, {"id": "2", "title": '5" shelf'}),
        (7, {"id": "3", "title": None}),
        (8, {"id": "4", "title": "naïve 机"}),
    ]
    assert read("a;b\n1;2,3\n", delimiter=";")[0][1] == {"a": "1", "b": "2,3"}
    assert csv_header(io.BytesIO(text.encode()), ",") == ["id", "title"]
    assert csv_header(io.BytesIO(b""), ",") == []


def test_a_csv_line_that_cannot_be_read_spoils_itself_alone():
    text = b'a,b\n1\n2,"open\n3,4\n5,6,7\n8,\xff\n9,0\n'
    assert read(text) == [
        (2, "1 fields, the first line names 2", "1"),
        (3, "a quote is opened and not closed", '2,"open'),
        (4, {"a": "3", "b": "4"}, "3,4"),
        (5, "3 fields, the first line names 2", "5,6,7"),
        (6, "not UTF-8", r"8,\xff"),
        (7, {"a": "9", "b": "0"}, "9,0"),
    ]
    body = "x\n" * (MAX_RECORD_LINES - 1)
    assert len(read(f'a\n"{body}end"\n1\n')) == 2  # the longest record there may be
    assert len(read(f'a\n"{body}x\nend"\n1\n')) == MAX_RECORD_LINES + 2  # one line more is none: each line by itself


def test_a_header_that_is_none_is_told():
    for text, message in (("a,b,a\n", "names 'a' twice"), ('a,"b\n', "holds no names"), ("a,b\r1,2\r3,4\r", "carriage return alone")):
        with pytest.raises(ValueError, match=message):
            csv_header(io.BytesIO(text.encode()), ",")


def test_json_lines_keep_numbers_as_written():
    text = '\ufeff{"a": 1.10, "b": [{"c": 12345678901234567890}], "d": true, "e": NaN}\r\n\r\n[1]\n{"a"\n"x"\n{"a": "\u2028"}'
    found = read(text, "jsonl")
    assert found[0][:2] == (1, {"a": "1.10", "b": [{"c": "12345678901234567890"}], "d": True, "e": "NaN"})
    assert [each[:2] for each in found[1:3]] == [
        (3, "a JSON list, must be an object"),
        (4, "no JSON: Expecting ':' delimiter: line 1 column 5 (char 4)"),
    ]
    assert found[3][1] == "a JSON str, must be an object" and found[4][:2] == (6, {"a": "\u2028"})
    assert read(b'{"a": "\xff"}\n', "jsonl")[0][1] == "not UTF-8"
    assert read("[" * 100_000 + "\n", "jsonl")[0][1].startswith("no JSON")


def test_both_counts_agree_on_any_text():
    draw = random.Random(3)
    alphabets = (["a", '"', '"', ",", "\n", "\n", "\r\n", "é", "\r", " "], ["a", '"', ",", "\n"], ['""', ',"', '",', '"\n"', "\n", "b"])
    sizes = set()
    for number in range(30_000):
        alphabet = alphabets[number % len(alphabets)]
        text = "h\n" + "".join(draw.choice(alphabet) for _ in range(draw.randrange(16)))
        sizes.add(len(read(text)))
    assert len(sizes) > 5
