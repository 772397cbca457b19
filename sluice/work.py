"""Commands that change a lake: ingest, run, gate, maintain."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date, timedelta
from typing import Any

from jobs.gate import admit, audit_staged, describe, failed
from jobs.ingest import ingest as ingest_source
from jobs.ingest import source
from jobs.maintain import maintain as clean
from jobs.plan import job_build
from jobs.run import Outcome, UsageError, build_day, new_run_id, remove_leftovers, sentence
from jobs.storage import NotPublishedError, check_lake, filesystem, lake_address, open_table, table_root
from jobs.watch import watched as told
from schemas.contract import Contract
from sluice.screens import progress

Spark = Callable[[], Any]


def watched(outcomes: Iterable[Outcome], total: int | None) -> Iterator[Outcome]:
    """Outcomes as they come, with a bar that names the last one."""
    with progress(total) as bar:
        task = bar.add_task("starting Spark", total=total)
        for outcome in outcomes:
            bar.update(task, advance=1, description=f"{outcome.table} {outcome.day}")
            yield outcome


def report(outcomes: Iterable[Outcome], total: int | None, as_json: bool) -> None:
    done = []
    for outcome in watched(outcomes, total):
        done.append(outcome)
        if not as_json:
            print(sentence(outcome), flush=True)
    if as_json:
        print(json.dumps([o.as_json() for o in done], indent=1, default=str))


def describe_source(name: str) -> None:
    module = source(name)
    print(module.__doc__.strip() + "\n\nOptions:")
    for option, meaning in module.OPTIONS.items():
        print(f"  --{option.replace('_', '-')}  {meaning}")


def ingest(
    spark: Spark, lake: str, name: str, path: str | None, days: tuple[date, date] | None, options: Mapping[str, str], as_json: bool
) -> None:
    source(name)
    check_lake(lake, must_exist=False)
    report(begin(spark, lambda session: ingest_source(session, lake, name, path, days, options)), None, as_json)


def begin(spark: Spark, work: Callable[[Any], Iterable[Outcome]]) -> Iterator[Outcome]:
    """Open the session inside the progress bar, which then says what is waited for."""
    yield from work(spark())


def refuse_raw(contract: Contract, first: date, last: date) -> None:
    if contract.is_raw:
        raise UsageError(f"{contract.name} is a raw table, a source writes it: sluice ingest SOURCE --days {first}..{last}")


def run(spark: Spark, lake: str, contract: Contract, day: date, force: bool, as_json: bool) -> None:
    refuse_raw(contract, day, day)
    check_lake(lake, must_exist=True)
    address, build = lake_address(lake), job_build(contract.name)
    outcome = build_day(spark(), address, contract, build, day, force=force)
    print(json.dumps(outcome.as_json(), indent=1, default=str) if as_json else sentence(outcome))


def staged_draft(lake: str, contract: Contract, day: date) -> dict[str, Any] | None:
    """The newest staged run of a day that was not published."""
    from pyarrow.fs import FileSelector

    fs, path = filesystem(f"{table_root(lake, contract)}/day={day}")
    infos = fs.get_file_info(FileSelector(path, recursive=True, allow_not_found=True))
    drafts = []
    for info in (i for i in infos if i.base_name == "_staged.json"):
        with fs.open_input_stream(info.path) as stream:
            drafts.append(json.loads(stream.read()))
    count = open_table(lake, contract).changes(day)
    finished = [d for d in drafts if "build_s" in d and d["seen"] == count]  # another was overtaken: its inputs may be older
    return max(finished, key=lambda d: d["started_at"], default=None)


def gate(spark: Spark, lake: str, contract: Contract, day: date, accept: Mapping[str, str], as_json: bool) -> None:
    check_lake(lake, must_exist=True)
    address = lake_address(lake)
    draft = staged_draft(address, contract, day)
    if draft is None:
        raise NotPublishedError(
            f"{contract.name} {day}: no staged day waits for a decision; what is published: sluice receipts {contract.name} --day {day}"
        )
    session = spark()
    seen = audit_staged(session, address, draft)
    unknown = [name for name in accept if name not in failed(seen.results, "critical")]
    if unknown:
        raise UsageError(f"{', '.join(unknown)} did not fail; failed: {', '.join(failed(seen.results, 'critical')) or 'none'}")
    if not as_json:
        for result in seen.results:
            if not result["success"]:
                print(f"{result['expectation_config']['meta'].get('severity', 'critical')}: {describe(result)}")
    run = draft | {"run_id": new_run_id()}
    receipt = told(address, contract, day, run, lambda: admit(session, address, draft, accept), dict, is_seen=True)
    remove_leftovers(table_root(address, contract), draft["folder"], all_of_it=False)
    print(
        json.dumps(receipt, indent=1)
        if as_json
        else f"{contract.name} {day}: published as version {receipt['version']}, {receipt['rows']} rows"
    )


def maintain(lake: str, retention_days: int, dry_run: bool, as_json: bool) -> None:
    check_lake(lake, must_exist=True)
    removed = list(clean(lake, timedelta(days=retention_days), dry_run=dry_run))
    if as_json:
        print(json.dumps(removed, indent=1))
        return
    for fact in removed:
        print(f"{'would remove' if dry_run else 'removed'} {fact['path']} ({fact['why']})")
    done = "to remove" if dry_run else "removed"
    print(f"{len(removed)} {'leftover' if len(removed) == 1 else 'leftovers'} {done}" if removed else f"nothing {done}")
