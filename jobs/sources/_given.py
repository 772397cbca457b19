"""What a folder of logs gives and what it lacks: files by table and columns, under the names of the contract; all problems at once."""

from collections.abc import Mapping, Sequence

from jobs.sources import SourceError
from jobs.sources._find import TABLES, LogFile, find, names_of
from jobs.sources._typed import Group, columns_of, uncastable
from jobs.storage import lake_address

Renames = Mapping[tuple[str | None, str], str]
"""(table, or None where it is said of all, and old name) -> new name."""
NEEDS = {  # one of each, the first is what a message asks for
    "requests": (("request_id",), ("user_id",), ("requested_at",), ("domain", "query_raw", "query_norm"), ("candidates",)),
    "candidates": (("request_id",), ("item_id",), ("is_exposed", "stage", "position")),
    "events": (("user_id",), ("item_id",), ("event_type",), ("event_at",), ("domain", "query_raw")),
    "items": (("item_id",),),
}


def given(path: str | None, rename: str, delimiter: str, nulls: str, items: str) -> dict[str, list[Group]]:
    """Files by table and by the columns they hold. Raises SourceError with all that is wrong, before any row is read."""
    if not path:
        raise SourceError("files reads a folder with requests/, events/ and items/: name it with --from")
    renames, problems = _renames(rename)
    if len(delimiter) != 1:
        problems.append(f"option delimiter is {delimiter!r}, must be one character")
    files, wrong = find(lake_address(path), delimiter if len(delimiter) == 1 else ",")
    problems += wrong
    if not files and not wrong:
        problems.append(
            f"there are no logs: the folder is absent or holds no file {', '.join(f'{t}/*.csv' for t in TABLES)} (or .jsonl, .parquet)"
        )
    groups: dict[str, list[Group]] = {}
    for table in TABLES:
        for same in _alike([file for file in files if file.table == table]):
            group, missing = _group(table, same, renames, frozenset(nulls.split(",")) - {""})
            problems += missing
            groups.setdefault(table, []).append(group)
    problems += _unused(renames, files)
    problems += _problems_between(groups, items)
    if problems:
        raise SourceError(f"files cannot read {path}:\n" + "\n".join(f"- {each}" for each in dict.fromkeys(problems)))
    return groups


def _renames(text: str) -> tuple[Renames, list[str]]:
    renames, problems = {}, []
    for each in filter(None, (part.strip() for part in text.split(","))):
        old, _, new = (part.strip() for part in each.partition("="))
        table, _, inner = old.partition(".")
        key = (table, inner) if table in TABLES and inner else (None, old)
        known = {name for t in TABLES if key[0] in (None, t) for name in columns_of(t)}
        if not old or new not in known:
            problems.append(f"option rename: {each!r} must be old=new or table.old=new, and new one of {', '.join(sorted(known))}")
        renames[key] = new
    return renames, problems


def _of(renames: Renames, table: str) -> dict[str, str]:
    """old -> new of what is said of the table or of all."""
    own = {old: new for (of, old), new in renames.items() if of == table}
    return {old: new for (of, old), new in renames.items() if of is None} | own


def _unused(renames: Renames, files: Sequence[LogFile]) -> list[str]:
    """Renames of columns that no file has: a setting without effect is a mistake."""
    held = {(file.table, name) for file in files for name in file.columns}
    held |= {("candidates", name) for file in files for fields in file.element_fields.values() for name in fields}
    lists = {"candidates"} | {old for (_, old), new in renames.items() if new == "candidates"}
    if any(file.kind == "csv" and lists & set(file.columns) for file in files):
        return []  # what is inside the JSON of a cell is not known yet
    known = held | {(None, name) for _, name in held}
    return [
        f"option rename: no file{f' of {table}' if table else ''} has a column {old}" for table, old in renames if (table, old) not in known
    ]


def _alike(files: Sequence[LogFile]) -> list[tuple[LogFile, ...]]:
    """Files with the same columns together; objects of .jsonl have names each, so all of them are alike."""
    alike: dict[object, list[LogFile]] = {}
    for file in files:
        columns = () if file.kind == "jsonl" else file.columns
        kinds = str(file.schema.remove_metadata()) if file.schema is not None else ""
        alike.setdefault((file.kind, columns, kinds), []).append(file)
    return [tuple(same) for same in alike.values()]


def _group(table: str, files: tuple[LogFile, ...], renames: Renames, nulls: frozenset[str]) -> tuple[Group, list[str]]:
    """The group, and what it lacks."""
    held = dict.fromkeys(column for file in files for column in file.columns)
    wanted, problems = columns_of(table), []
    own = {name: name for name in wanted if name in held}
    for old, new in _of(renames, table).items():
        if old in held and new in wanted:
            if new in own:
                problems.append(f"{names_of(files)}: {old} is renamed to {new}, which is there already; leave one of them out")
            own[new] = old
    fields = {name for file in files for name in file.element_fields.get(own.get("candidates", ""), ())}
    inner = _of(renames, "candidates") if table == "requests" else {}
    group = Group(table, files, own, {old: new for old, new in inner.items() if old in fields or not fields}, nulls)
    problems += _lacks(group, held)
    if fields:
        names = {inner.get(name, name) for name in fields}
        problems += [
            f"{names_of(files)}: candidates lack {' or '.join(each)}; their fields are {', '.join(sorted(fields))}"
            for each in NEEDS["candidates"][1:]
            if not names & set(each)
        ]
    return group, problems


def _lacks(group: Group, held: Mapping[str, None]) -> list[str]:
    wanted, problems = columns_of(group.table), []
    needs = [each for each in NEEDS[group.table] if each != ("candidates",)]
    for each in needs:
        if not set(each) & set(group.own_names):
            line = wanted[each[0]]
            others = f" (or {' or '.join(each[1:])})" if each[1:] else ""
            problems.append(
                f"{names_of(group.files)}: lacks {line.name}{others}, {line.ddl}: {line.doc} "
                f"It has {', '.join(held)}; if one of these is it, say rename={group.table}.ITS_NAME={line.name}"
            )
    for name, kind in uncastable(group).items():
        line = wanted[name]
        problems.append(f"{names_of(group.files)}: {group.own_names[name]} is {kind}, {name} must be {line.ddl}: {line.doc}")
    return problems


def _problems_between(groups: Mapping[str, Sequence[Group]], items: str) -> list[str]:
    problems = []
    has_list = [g for g in groups.get("requests", ()) if "candidates" in g.own_names]
    if "candidates" in groups and "requests" not in groups:
        problems.append("there are candidates/ but no requests/ that they belong to")
    if "candidates" in groups and has_list:
        problems.append(f"candidates are given twice: in {names_of(has_list[0].files)} and in candidates/; leave one of them out")
    if "requests" in groups and "candidates" not in groups and len(has_list) < len(groups["requests"]):
        line = columns_of("requests")["candidates"]
        lacking = [g for g in groups["requests"] if g not in has_list]
        problems.append(f"{names_of(lacking[0].files)}: lacks candidates, {line.ddl}: {line.doc} Or give them as lines in candidates/")
    if items not in ("", "derive", "leave"):
        problems.append(f"option items is {items!r}, must be derive or leave")
    if "items" in groups and items in ("derive", "leave"):
        problems.append(f"option items is {items}, but there is a catalogue in items/; leave the option out, or the folder")
    if "requests" in groups and "items" not in groups and not items:
        problems.append(
            "there is no items/: give the catalogue, or option items=derive (a row per item seen, all else null) or items=leave"
        )
    return problems
