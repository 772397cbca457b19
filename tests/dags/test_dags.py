"""Every DAG: found without error, its tasks in the order of the contracts, its commands as recorded."""

import importlib
from pathlib import Path

from schemas.contract import load, load_all

ROOT = Path(__file__).parents[2]
EXPECTED = Path(__file__).parent / "expected"
ON_NO_SCHEDULE = {"judgements"}  # people grade when they do; `sluice ingest` by hand


def jobs_of(dag) -> list:
    """Tasks that build a table by its job."""
    return [task for task in dag.topological_sort() if hasattr(task, "application")]


def rendered(task, context) -> str:
    """The task as one line: what it waits for, and the command that it would run or the question that it would ask."""
    task = task.prepare_for_execution()
    task.render_template_fields(context)
    after = " ".join(sorted(task.upstream_task_ids))
    return f"{task.task_id} after {after or 'nothing'}: {' '.join(command_of(task))}"


def command_of(task) -> list[str]:
    if hasattr(task, "application"):
        return task._get_hook()._build_spark_submit_command(task.application)
    if hasattr(task, "arguments"):
        return task.arguments()
    return [task.python_callable.__name__, *(f"{name}={value}" for name, value in sorted(task.op_kwargs.items()))]


def test_each_dag_is_named_like_its_file(dags):
    files = {path.stem for path in (ROOT / "dags").glob("*.py")} - {"__init__", "common"}
    assert files and set(dags) == files


def test_commands_and_order_are_as_recorded(dags, context, monkeypatch):
    monkeypatch.setenv("AIRFLOW_VAR_SLUICE_LAKE", "s3://shop/lake")
    assert {path.stem for path in EXPECTED.iterdir()} == set(dags)
    for name, dag in dags.items():
        lines = sorted(rendered(task, context).replace(f"{ROOT}/", "") for task in dag.tasks)
        assert "\n".join(lines) + "\n" == (EXPECTED / f"{name}.txt").read_text(), f"if this is meant, record it in {EXPECTED / name}.txt"


def test_commands_parse_with_the_parsers_of_their_jobs(dags, context):
    for dag in dags.values():
        for task in jobs_of(dag):
            task = task.prepare_for_execution()
            task.render_template_fields(context)
            parsed = importlib.import_module(f"jobs.{task.table}").arg_parser().parse_args(task.application_args)
            assert parsed.day.isoformat() == task.day
            assert str(parsed.lake).endswith("/lake")


def test_commands_parse_with_the_command_line(dags, context, tmp_path):
    """A wrong option ends with 2 before anything runs; with a lake that is not there, a right one with 1."""
    from typer.testing import CliRunner

    from sluice.main import app

    commands = [task for dag in dags.values() for task in dag.tasks if hasattr(task, "arguments")]
    assert len(commands) >= 4
    for task in (task for task in commands if task.task_id != "ingest"):
        task = task.prepare_for_execution()
        task.render_template_fields(context)
        program, *arguments = task.arguments()
        assert program == "sluice"
        done = CliRunner().invoke(app, arguments)
        assert (done.exit_code, "no lake" in done.stderr) == (1, True), done.stderr
        assert CliRunner().invoke(app, [*arguments, "--no-such-option"]).exit_code == 2


def test_a_table_follows_every_input_that_it_needs_of_the_same_day(dags):
    for dag in dags.values():
        for task in jobs_of(dag):
            needed = {i.table for i in load(task.table).inputs if i.window[0] <= 0 < i.window[1]}
            built = {t.table for t in jobs_of(dag) if not t.must_be_published}
            _, is_reissue, age = task.task_id.partition("_after_")
            needed |= {f"{n}_after_{age}" for n in needed if is_reissue and load(n).labels}
            assert task.upstream_task_ids == {n if n in built else f"wait_for_{n}" for n in needed}
            assert needed


def test_a_table_is_built_by_one_dag_only(dags):
    built = [task.table for dag in dags.values() for task in jobs_of(dag) if not task.must_be_published]
    assert len(built) == len(set(built))
    ingested = [table for dag in dags.values() for task in dag.tasks if task.task_id == "ingest" for table in task.receipts]
    assert sorted(built + ingested) == sorted({contract.name for contract in load_all()} - ON_NO_SCHEDULE)


def test_immature_days_are_issued_again_at_the_ages_of_the_contract(dags):
    again = {task.day for task in jobs_of(dags["entire_space"]) if task.must_be_published}
    assert again == {f"{{{{ macros.ds_add(partition_key, -{age}) }}}}" for age in load("entire_space").reissue_after}
    assert len(again) == 3


def test_each_task_has_owner_retries_pool_and_a_timeout(dags):
    from airflow.providers.standard.sensors.python import PythonSensor

    for dag in dags.values():
        assert dag.tasks and dag.doc_md and "Owner: " in dag.doc_md
        assert dag.catchup is False and dag.max_active_runs == 1
        for task in dag.tasks:
            assert task.owner and task.retries >= 1 and task.pool and task.execution_timeout
            assert task.max_active_tis_per_dag == (None if isinstance(task, PythonSensor) else 1), "one day of a table at a time"
        for task in jobs_of(dag):
            assert task.owner == load(task.table).owner
            assert [asset.name for asset in task.outlets] == [task.table]


def test_a_scheduled_run_builds_the_day_that_ended_and_a_backfill_both_ends(dags):
    import pendulum
    from airflow.serialization.decoders import decode_timetable
    from airflow.serialization.encoders import encode_timetable
    from airflow.timetables.base import TimeRestriction

    daily = decode_timetable(encode_timetable(dags["entire_space"].timetable))
    at, until = pendulum.datetime(2026, 1, 16), pendulum.datetime(2026, 1, 18)
    run = daily.next_dagrun_info_v2(last_dagrun_info=None, restriction=TimeRestriction(earliest=at, latest=None, catchup=True))
    assert (run.run_after, run.partition_key) == (at, "2026-01-15")
    backfilled = daily.iter_partition_dagrun_infos(earliest=at, latest=until)
    assert [each.partition_key for each in backfilled] == ["2026-01-16", "2026-01-17", "2026-01-18"]


def test_the_report_at_noon_is_of_the_day_that_ended(dags):
    import pendulum
    from airflow.serialization.decoders import decode_timetable
    from airflow.serialization.encoders import encode_timetable
    from airflow.timetables.base import TimeRestriction

    noon = decode_timetable(encode_timetable(dags["report"].timetable))
    earliest = TimeRestriction(earliest=pendulum.datetime(2026, 1, 16), latest=None, catchup=True)
    run = noon.next_dagrun_info_v2(last_dagrun_info=None, restriction=earliest)
    assert (run.run_after, run.partition_key) == (pendulum.datetime(2026, 1, 16, 12), "2026-01-15")


def test_training_is_scheduled_on_an_asset_that_a_dag_publishes(dags):
    from airflow.sdk import PartitionedAssetTimetable

    published = {asset for dag in dags.values() for task in dag.tasks for asset in task.outlets}
    wanted = {name: dag.timetable for name, dag in dags.items() if isinstance(dag.timetable, PartitionedAssetTimetable)}
    assert set(wanted) == {"hhsft_train", "retriever"}
    for timetable in wanted.values():
        assert timetable.asset_condition in published
