"""`sluice demo`: ten days of a simulated shop, raw logs to training tables, and one screen that says what came out."""

import shutil
import time
from collections.abc import Callable, Iterable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from jobs.ingest import ingest
from jobs.inputs import Tables
from jobs.plan import plan, run_plan
from jobs.run import Outcome, UsageError
from jobs.storage import lake_address, open_table
from schemas.address import is_local
from schemas.contract import load, load_all
from sluice.report.long_tail import long_tail
from sluice.screens import account_table, console, grid, print_json, say
from sluice.stages import facts, notes, stage_table
from sluice.work import watched

FIRST, DAYS = date(2026, 1, 1), 10
LAST = FIRST + timedelta(days=DAYS - 1)
SHOWN_DAY = FIRST + timedelta(days=4)  # queries of earlier days are known, and most labels have come
HARD_SHARE = "0.2"
TRUTH = "_truth"


def run(spark: Callable[[], Any], lake: str, users: int, as_json: bool) -> None:
    address = lake_address(lake)
    if not is_local(address):
        raise UsageError(f"the demo makes its lake in a folder, and {address} is none; choose another with --lake")
    _make_room(Path(address))
    begun, truth = time.time(), Path(address) / TRUTH
    say(f"Simulating {DAYS} days of a shop with {users} users into {address} ...")
    session = spark()
    started = time.time()
    options = {"users": str(users), "hard_share": HARD_SHARE, "truth": str(truth)}
    raw = _all(ingest(session, address, "simulator", None, (FIRST, LAST), options), DAYS * 3)
    say(f"  {sum(o.receipt['rows'] for o in raw):,} raw rows through {len(raw)} gates in {time.time() - started:.0f} s")
    built_at = time.time()
    built = _built(session, address, "entire_space", FIRST) + _built(session, address, "retriever_examples", LAST)
    costs = _costs(built, time.time() - built_at)
    say(f"  {len(built)} table-days built and published in {time.time() - built_at:.0f} s")
    found = {"lake": address, "seconds": round(time.time() - begun, 1), "cost_of_a_table_day": costs, "stages": facts(address, SHOWN_DAY)}
    found["rare_queries"] = _rare_queries(address, truth)
    if as_json:
        print_json(found)
    else:
        _screen(address, found)


def _make_room(lake: Path) -> None:
    """An earlier demo is replaced; anything else at that place is left alone."""
    if lake.exists() and any(lake.iterdir()):
        if not (lake / "DEMO").exists():
            raise UsageError(f"{lake} holds something that no demo made; choose another folder with --lake")
        shutil.rmtree(lake)
    lake.mkdir(parents=True, exist_ok=True)
    (lake / "DEMO").write_text("made by sluice demo; the next one replaces it\n")


def _built(session: Any, lake: str, table: str, first: date) -> list[Outcome]:
    steps = [s for s in plan(lake, table, first, LAST, with_upstream=True) if s.reasons]
    return _all(run_plan(session, lake, steps), len(steps))


def _all(outcomes: Iterable[Outcome], total: int) -> list[Outcome]:
    return list(watched(outcomes, total))


def _costs(built: list[Outcome], wall_s: float) -> dict[str, float]:
    """Mean seconds of a table-day: staging (build and write), gate, and the rest (pinning, planning, receipts)."""
    n = max(len(built), 1)
    stage, gate = (sum(o.receipt[k] for o in built) / n for k in ("build_s", "gate_s"))
    return {"build_and_stage_s": round(stage, 2), "gate_s": round(gate, 2), "rest_s": round(wall_s / n - stage - gate, 2)}


def _rare_queries(lake: str, truth: Path) -> dict[str, Any]:
    """How far rare queries of the last day came on their way to pairs, and the share of pairs that were planted."""
    found = long_tail(Tables(lake), [LAST], truth=truth)
    assert found, "all of its tables were just published"
    return {"day": LAST.isoformat(), "in_pool": found["pool"]["in"], **found["pool"]["fates"], **found["all"]}


def _rare_sentence(rare: dict[str, Any]) -> str:
    right = f", {rare['precision']:.0%} of them right by what the simulator planted" if rare["judged"] else ""
    reached = f"{rare['in_pool']:,} rare, badly served queries, {rare['rewritten']:,} reworded, {rare['with_pairs']:,} paired with items"
    return f"{reached}: {rare['pairs']:,} pairs{right}"


def _screen(lake: str, found: dict[str, Any]) -> None:
    out, table = console(), open_table(lake, load("entire_space"))
    out.print(f"\n[bold]1. What the samples gained[/bold] (search requests alone -> the entire space of {SHOWN_DAY})")
    out.print(stage_table(found["stages"]))
    for line in notes(found["stages"]):
        out.print(line)
    out.print("\n[bold]2. The books[/bold]: where every candidate that search ranked, and every event, went")
    for account in table.receipt(SHOWN_DAY)["accounts"]:
        out.print(account_table(f"{account['account']} of {account['input']}", account))
    out.print("\n[bold]3. The gates[/bold]: nothing is in a table that its gate did not pass")
    out.print(_gates(lake))
    out.print("\n[bold]4. Label maturity[/bold]: a pay may come seven days after the search; a day is issued again until then")
    out.print(_maturity(table))
    out.print(f"\n[bold]5. Rare queries[/bold] ({LAST}): other words find items that they do not; what two scorers accept is learnt from")
    out.print(_rare_sentence(found["rare_queries"]))
    cost = found["cost_of_a_table_day"]
    out.print(
        f"\n{found['seconds']:.0f} s in all. A derived table-day took {sum(cost.values()):.1f} s: "
        f"{cost['build_and_stage_s']} s build and stage, {cost['gate_s']} s gate, {cost['rest_s']} s the rest."
    )
    out.print(
        f"\nTry next:\n  sluice books entire_space --day {SHOWN_DAY} --lake {lake}\n  sluice receipts entire_space --lake {lake}\n"
        f"  sluice quarantine events --day {SHOWN_DAY} --lake {lake}\n"
        f"  sluice report --personal --truth {lake}/{TRUTH} --lake {lake}   (all of it as pages: open sluice-report/index.html)\n"
        f"  sluice backfill entire_space --days {FIRST}..{LAST} --with-upstream --lake {lake}   (up to date)\n"
        "  sluice ingest files --from YOUR_LOGS --lake ./lake   (your own logs)"
    )


def _gates(lake: str) -> Any:
    columns = ("days", "rows", "checks", "warnings", "quarantined")
    shown = grid("", "table", *columns, numbers=columns)
    for contract in load_all():
        receipts = open_table(lake, contract).receipts()
        results = [r for receipt in receipts for r in receipt["results"]]
        taken = sum(sum(r["quarantined"].values()) for r in receipts)
        failed = sum(not r["success"] for r in results)
        rows = sum(r["rows"] for r in receipts)
        shown.add_row(contract.name, str(len(receipts)), f"{rows:,}", str(len(results)), str(failed), str(taken))
    return shown


def _maturity(table: Any) -> Any:
    contract = load("entire_space")
    shown = grid("", "day", "labels known to", "age in days", "click positives", "pays", numbers=("age in days", "click positives", "pays"))
    for r in table.receipts():
        age = (date.fromisoformat(r["label_as_of"]) - date.fromisoformat(r["day"])).days
        state = f"{age} (final)" if age >= contract.matures_after else f"{age} of {contract.matures_after}"
        clicks = r["totals"]["search_clicks"] + r["totals"]["pseudo_clicks"]
        shown.add_row(r["day"], r["label_as_of"], state, f"{clicks:,}", f"{r['totals']['search_pays']:,}")
    return shown
