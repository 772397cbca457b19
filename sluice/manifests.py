"""Commands that pin what training reads: `sluice manifest create|list|show|verify|diff|delete`, and what they print. No Spark."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sluice.options import LAKE, Days, Json, Lake, a_contract, a_span, do

if TYPE_CHECKING:
    from training.manifest import Manifest

app = typer.Typer(
    rich_markup_mode=None,
    help="Pin what a training run reads: files of published days, with their receipts.\n\n"
    "`sluice maintain` keeps what a manifest names until it is deleted.\n\n\b\n"
    "Example: sluice manifest create base --table entire_space --days 2026-01-01..2026-01-10 --mature",
)
Name = Annotated[str, typer.Argument(help="Name of the manifest; `sluice manifest list` lists them.")]


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="A name that is free: letters, digits, '.', '_' and '-'.")],
    table: Annotated[str, typer.Option("--table", help="Name of a table; `sluice tables` lists them.")],
    days: Days,
    mature: Annotated[bool, typer.Option("--mature", help="Refuse days whose labels can still change.")] = False,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the order in which training draws the rows.")] = 17,
    lake: Lake = LAKE,
    as_json: Json = False,
) -> None:
    """Pin days of a table, or say all that speaks against it.

    \b
    Example: sluice manifest create base --table entire_space --days 2026-01-01..2026-01-10 --mature
    """
    contract, span = a_contract(table), a_span(days)

    def work() -> None:
        from sluice.screens import print_json
        from training import manifest

        _check(lake, name)
        is_new = name not in manifest.names(lake)
        made = manifest.create(lake, name, contract.name, span, mature=mature, seed=seed)
        if as_json:
            print_json(_facts(made) | {"is_new": is_new})
        else:
            print(_sentence(made) + ("" if is_new else "; it was there already, with the same content"))

    do(work)


@app.command("list")
def list_all(lake: Lake = LAKE, as_json: Json = False) -> None:
    """All manifests of a lake, and what they hold.

    \b
    Example: sluice manifest list --lake ./lake
    """

    def work() -> None:
        from rich.markup import escape

        from sluice.screens import console, grid, print_json
        from training.manifest import names

        _check(lake)
        found = [_brief(lake, name) for name in names(lake)]
        if as_json:
            print_json(found)
            return
        if not found:
            print("no manifest yet; make one: sluice manifest create NAME --table T --days A..B")
            return
        shown = grid(f"Manifests of {lake}", "name", "table", "days", "rows", "bytes", "made", "", numbers=("rows", "bytes"))
        for m in found:
            facts = (m["table"], _days(m["days"]), f"{m['rows']:,}", f"{m['bytes']:,}", m["created_at"], "") if "table" in m else ("?",) * 5
            shown.add_row(m["name"], *facts, *([escape(m["fault"])] if "fault" in m else []))
        console().print(shown)

    do(work)


@app.command()
def show(name: Name, lake: Lake = LAKE, as_json: Json = False) -> None:
    """What a manifest pins, day by day.

    \b
    Example: sluice manifest show base --json
    """

    def work() -> None:
        from sluice.screens import console, grid, print_json
        from training.manifest import load

        _check(lake, name)
        found = load(lake, name)
        if as_json:
            print_json(_facts(found))
            return
        print(f"{_sentence(found)}\nmade {found.created_at}, seed {found.sampler['seed']}, schema {found.schema_hash}")
        columns = ("day", "rows", "files", "bytes", "labels known to", "code", "content hash")
        shown = grid("Days", *columns, numbers=("rows", "files", "bytes"))
        for day, receipt in found.receipts.items():
            files = [f for f in found.files if f.day == day]
            sizes = (f"{n:,}" for n in (receipt["rows"], len(files), sum(f.size for f in files)))
            shown.add_row(day, *sizes, receipt["label_as_of"] or "-", receipt["code"], receipt["content_hash"])
        console().print(shown)

    do(work)


@app.command()
def verify(name: Name, lake: Lake = LAKE, as_json: Json = False) -> None:
    """Is all that a manifest names still as it was pinned?

    Looks at files, their footers and the receipts. Exit code 1 when something is not.

    \b
    Example: sluice manifest verify base
    """

    def work() -> None:
        from sluice.screens import print_json
        from training.manifest import ManifestError, load
        from training.manifest import verify as look

        _check(lake, name)
        found = load(lake, name)
        faults = look(found)
        if as_json:
            print_json({"name": name, "table": found.table, "files": len(found.files), "faults": faults})
        else:
            print("\n".join(faults) or f"{name}: files ({len(found.files):,}) and receipts ({len(found.days):,}) are as they were pinned")
        if faults:
            raise ManifestError(f"{name} is not as it was pinned ({len(faults)} {'fault' if len(faults) == 1 else 'faults'}, see above)")

    do(work)


@app.command()
def diff(
    a: Annotated[str, typer.Argument(help="Name of a manifest.")],
    b: Annotated[str, typer.Argument(help="Name of another of the same table.")],
    limit: Annotated[int, typer.Option("--limit", min=1, help="Most columns to show.")] = 20,
    lake: Lake = LAKE,
    as_json: Json = False,
) -> None:
    """What changed from A to B: rows, labels, days, distributions.

    Reads all rows of both.

    \b
    Example: sluice manifest diff january february
    """

    def work() -> None:
        from sluice.screens import print_json, progress
        from training.manifest import diff as compare
        from training.manifest import load

        _check(lake, a, b)
        both = load(lake, a), load(lake, b)
        total = len({(m.root, f) for m in both for f in m.files})
        with progress(total) as bar:
            task = bar.add_task(f"reading {a} and {b}", total=total)
            found = compare(*both, watch=lambda: bar.advance(task))
        print_json(found) if as_json else _print_diff(found, limit)

    do(work)


@app.command()
def delete(name: Name, lake: Lake = LAKE, as_json: Json = False) -> None:
    """End a manifest: `sluice maintain` spares its files no longer.

    \b
    Example: sluice manifest delete base
    """

    def work() -> None:
        from sluice.screens import print_json
        from training.manifest import delete as end

        _check(lake, name)
        end(lake, name)
        print_json({"name": name, "deleted": True}) if as_json else print(f"{name} is deleted; files that only it named go with maintain")

    do(work)


def _check(lake: str, *names: str) -> None:
    """The lake is there, and the names are names: else the command was used wrongly."""
    from jobs.messages import UsageError
    from jobs.storage import check_lake
    from training.manifest import check_name

    check_lake(lake, must_exist=True)
    try:
        for name in names:
            check_name(name)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _facts(m: "Manifest") -> dict[str, Any]:
    from training.manifest import identity

    return {"identity": identity(m), "rows": m.rows, "bytes": m.bytes} | asdict(m)


def _brief(lake: str, name: str) -> dict[str, Any]:
    """One manifest in a list; of one that cannot be read, why."""
    from training.manifest import ManifestError, load

    try:
        facts = _facts(load(lake, name))
    except ManifestError as error:
        return {"name": name, "fault": str(error)}
    return {key: facts[key] for key in ("name", "table", "version", "days", "rows", "bytes", "is_mature", "identity", "created_at")}


def _days(days: Any) -> str:
    return days[0] if len(days) == 1 else f"{days[0]}..{days[-1]}"


def _sentence(m: "Manifest") -> str:
    known = [d for d in m.label_as_of.values() if d]
    labels = "all labels final" if m.is_mature else f"labels known to {min(known)} or later" if known else "no labels"
    size = f"{m.rows:,} rows in {len(m.files):,} {'file' if len(m.files) == 1 else 'files'}, {m.bytes:,} bytes"
    return f"{m.name}: {m.table} {_days(m.days)} at version {m.version}, {size}; {labels}"


def _print_diff(found: dict[str, Any], limit: int) -> None:
    from rich.markup import escape

    from sluice.screens import console, grid

    print(f"{found['a']['name']} -> {found['b']['name']}: rows {found['rows'][0]:,} -> {found['rows'][1]:,}")
    for label, (a, b) in found["labels"].items():
        print(f"label {label}: {a:,} -> {b:,}")
    for what in ("added", "removed"):
        for kind in ("days", "schema"):
            if found[kind][what]:
                print(f"{'columns' if kind == 'schema' else kind} {what}: {', '.join(found[kind][what])}")
    changed = {"content": found["days"]["changed"], "labels known to": found["label_as_of"], "code": found["code"]}
    for what, pairs in (changed | {"type": found["schema"]["changed"]}).items():
        for key, (a, b) in pairs.items():
            print(f"{key}: {what} {a or '-'} -> {b or '-'}")
    moved = [d for d in found["distributions"] if d["distance"]]
    if not moved:
        print(f"no distribution of {len(found['distributions'])} changed")
        return
    columns = ("column", "nulls", "->", "mean", "-> ", "distance", "by chance")
    shown = grid("Distributions: the share of values that would have to change", *columns, numbers=columns[1:])
    for d in moved[:limit]:
        shares = (f"{share:.2%}" if share is not None else "-" for share in d["null_share"])
        means = (f"{mean:.5g}" if mean is not None else "-" for mean in d["mean"])
        shown.add_row(escape(d["column"]), *shares, *means, f"{d['distance']:.4f}", f"{d['chance']:.4f}")
    console().print(shown)
    if len(moved) > limit:
        print(f"... and {len(moved) - limit} more (--limit {len(moved)})")
