"""A task that builds a table or runs a command: what it starts, reads, refuses and tells; against programs made by the test."""

import json
from pathlib import Path

import pytest

from schemas.address import filesystem, write_whole
from tests.object_store import BUCKET, object_store

DAY = "2026-01-15"


FACTS = {"table": "entire_space", "day": DAY, "version": 1, "content_hash": "ab12", "rows": 7, "label_as_of": DAY}


def receipt(lake: Path, n: int, **changes) -> str:
    """Shell line that writes a receipt as the n-th publish of a day would."""
    facts = FACTS | {"gate_s": 1.5} | changes
    folder = lake / "entire_space/v1/_receipts"
    return f"mkdir -p {folder}; echo '{json.dumps(facts)}' > {folder}/{facts['day']}.{n}.json\n"


@pytest.fixture
def lake(tmp_path):
    return tmp_path / "lake"


def run_task(dags, context, task_id: str = "entire_space"):
    task = dags["entire_space"].get_task(task_id).prepare_for_execution()
    task.render_template_fields(context)
    task.execute(context)
    from airflow.sdk import Asset

    return context["outlet_events"][Asset("entire_space")]


def test_the_newest_receipt_of_the_day_becomes_the_asset_event(dags, context, spark_submit, lake):
    newest, older = receipt(lake, 10, version=100), receipt(lake, 9, version=90) + receipt(lake, 2, version=20)
    half_written = f"touch {lake}/entire_space/v1/_receipts/{DAY}.11.json.77.tmp\n"
    spark_submit.write_text(f"#!/bin/sh\n{newest}{older}{half_written}")
    event = run_task(dags, context)
    told = f"{lake}/entire_space/v1/_receipts/{DAY}.10.json"
    assert event.extra == FACTS | {"version": 100, "receipt": told, "is_reissue": False}
    assert event.partition_keys == {DAY}


def test_a_refused_day_is_not_tried_again_and_other_failures_are(dags, context, spark_submit):
    from airflow.exceptions import AirflowException
    from airflow.sdk.exceptions import AirflowFailException

    spark_submit.write_text("#!/bin/sh\nexit 3\n")
    with pytest.raises(AirflowFailException, match=f"entire_space {DAY}: the gate or the books refused it"):
        run_task(dags, context)
    for code in (1, 33):
        spark_submit.write_text(f"#!/bin/sh\nexit {code}\n")
        with pytest.raises(AirflowException, match=f"Error code is: {code}") as failure:
            run_task(dags, context)
        assert not isinstance(failure.value, AirflowFailException)


def test_a_day_that_was_withdrawn_is_no_success_and_is_waited_for(dags, context, spark_submit, lake):
    from airflow.sdk.exceptions import AirflowFailException

    withdrawn = {"is_withdrawn": True, "withdrawal": {"because": "half of the logs"}}
    spark_submit.write_text(f"#!/bin/sh\n{receipt(lake, 1)}{receipt(lake, 2, **withdrawn)}")
    with pytest.raises(AirflowFailException, match=rf"entire_space {DAY} was withdrawn \(half of the logs\)"):
        run_task(dags, context)
    from dags.common import is_published

    receipts = str(lake / "entire_space/v1/_receipts")
    assert not is_published(receipts, DAY)
    (lake / f"entire_space/v1/_receipts/{DAY}.3.json").write_text(json.dumps(FACTS))
    assert is_published(receipts, DAY)


def test_receipts_on_an_object_store_are_read_too(dags, tmp_path, monkeypatch):
    from dags.common import is_published, published_facts

    receipts = f"s3://{BUCKET}/lake/entire_space/v1/_receipts"
    with object_store(tmp_path) as store:
        for name, value in store.items():
            monkeypatch.setenv(name, value)
        assert not is_published(receipts, DAY)
        write_whole(*filesystem(f"{receipts}/{DAY}.1.json"), json.dumps(FACTS).encode())
        assert is_published(receipts, DAY)
        assert published_facts(receipts, DAY)["receipt"] == f"{receipts}/{DAY}.1.json"


def test_success_without_a_receipt_is_a_failure(dags, context, spark_submit):
    from airflow.exceptions import AirflowException

    with pytest.raises(AirflowException, match=f"no receipt of {DAY}"):
        run_task(dags, context)


def test_a_missing_connection_or_day_ends_the_task_before_it_submits(dags, context, spark_submit, monkeypatch, tmp_path):
    from airflow.sdk.exceptions import AirflowFailException

    spark_submit.write_text(f"#!/bin/sh\ntouch {tmp_path}/submitted\n")
    monkeypatch.setattr("airflow.sdk.BaseHook.get_connection", classmethod(no_connection))
    with pytest.raises(AirflowFailException, match="no Airflow connection spark_default"):
        run_task(dags, context)
    with pytest.raises(AirflowFailException, match="day is 'None': start the run with partition_key"):
        run_task(dags, context | {"partition_key": None})
    assert not (tmp_path / "submitted").exists()


def no_connection(cls, conn_id):
    from airflow.sdk.exceptions import AirflowNotFoundException

    raise AirflowNotFoundException(f"The conn_id `{conn_id}` isn't defined")


def test_a_day_that_was_never_published_is_not_issued_again(dags, context, spark_submit, lake):
    from airflow.sdk.exceptions import AirflowSkipException

    with pytest.raises(AirflowSkipException, match="entire_space 2026-01-14 was never published"):
        run_task(dags, context, "entire_space_after_1")
    (lake / "entire_space/v1/_receipts").mkdir(parents=True)
    (lake / "entire_space/v1/_receipts/2026-01-14.1.json").write_text(json.dumps(FACTS))
    spark_submit.write_text(f"#!/bin/sh\n{receipt(lake, 2, day='2026-01-14', version=2)}")
    event = run_task(dags, context, "entire_space_after_1")
    assert (event.extra["version"], event.extra["is_reissue"], event.partition_keys) == (2, True, {"2026-01-14"})


def test_waiting_ends_when_the_day_has_a_receipt(dags, context, lake):
    def is_there():
        task = dags["entire_space"].get_task("wait_for_requests").prepare_for_execution()
        task.render_template_fields(context)
        return task.poke(context)

    assert not is_there()
    (lake / "requests/v1/_receipts").mkdir(parents=True)
    (lake / "requests/v1/_receipts/2026-01-14.1.json").write_text("{}")
    assert not is_there()
    (lake / f"requests/v1/_receipts/{DAY}.1.json").write_text("{}")
    assert is_there()


def test_examples_wait_until_their_input_was_issued_again(dags, context, lake):
    """Of a day that was never published nobody issues anything again; else its labels must know the day of the run."""
    task = dags["hhsft"].get_task("hhsft_examples_after_3")
    assert "wait_for_entire_space_after_3" in task.upstream_task_ids
    assert not [id_ for id_ in dags["hhsft"].get_task("hhsft_examples").upstream_task_ids if "after" in id_]

    def is_known(after: str) -> bool:
        sensor = dags["hhsft"].get_task(f"wait_for_entire_space_{after}").prepare_for_execution()
        sensor.render_template_fields(context)
        return bool(sensor.poke(context))

    folder = lake / "entire_space/v1/_receipts"
    assert is_known("after_3")
    folder.mkdir(parents=True)
    for n, (label, known) in enumerate([("2026-01-12", False), ("2026-01-14", False), ("2026-01-15", True), ("2026-01-20", True)]):
        (folder / f"2026-01-12.{n}.json").write_text(json.dumps(FACTS | {"day": "2026-01-12", "label_as_of": label}))
        assert (is_known("after_3"), is_known("after_1")) == (known, True)


def run_command(dags, context, dag: str, task_id: str):
    task = dags[dag].get_task(task_id).prepare_for_execution()
    task.render_template_fields(context)
    task.execute(context)


def raw_receipts(lake: Path, *tables: str, days: tuple[str, ...] = (DAY,)) -> None:
    for table in tables:
        folder = lake / f"{table}/v1/_receipts"
        folder.mkdir(parents=True, exist_ok=True)
        for day in days:
            (folder / f"{day}.1.json").write_text(json.dumps(FACTS | {"table": table, "day": day}))


def test_what_a_source_publishes_becomes_the_events_of_the_raw_tables(dags, context, sluice, lake, tmp_path):
    from airflow.sdk import Asset

    raw_receipts(lake, "items", "requests", "events")
    sluice.write_text(f'#!/bin/sh\nprintf \'%s\\n\' "$PWD" "$@" > {tmp_path}/called\n')
    run_command(dags, context, "ingest", "ingest")
    home, *arguments = (tmp_path / "called").read_text().splitlines()
    assert home == str(tmp_path / "home")
    of_source = ["files", "--from", "/logs/of the shop", "--rename", "uid=user_id"]
    assert arguments == ["ingest", *of_source, "--days", f"{DAY}..{DAY}", "--lake", str(lake), "--master", "spark://spark-master:7077"]
    for table in ("items", "requests", "events"):
        event = context["outlet_events"][Asset(table)]
        assert (event.extra["table"], event.extra["version"], event.partition_keys) == (table, 1, {DAY})


def test_a_source_that_leaves_out_a_raw_table_is_a_failure(dags, context, sluice, lake):
    from airflow.exceptions import AirflowException

    raw_receipts(lake, "items", "requests")
    with pytest.raises(AirflowException, match=f"events/v1/_receipts has no receipt of {DAY}"):
        run_command(dags, context, "ingest", "ingest")


@pytest.mark.parametrize(("dag", "task_id", "final"), [("ingest", "ingest", {2}), ("report", "report", {2, 3})])
def test_a_command_is_tried_again_unless_that_cannot_help(dags, context, sluice, dag, task_id, final):
    """A day that gates refuse stays refused, but the logs of a source may be complete an hour later."""
    from airflow.exceptions import AirflowException
    from airflow.sdk.exceptions import AirflowFailException

    for code in (1, 2, 3):
        sluice.write_text(f"#!/bin/sh\nexit {code}\n")
        with pytest.raises(AirflowException, match=f"ended with {code}; the log above says why") as failure:
            run_command(dags, context, dag, task_id)
        assert isinstance(failure.value, AirflowFailException) == (code in final)


def test_what_a_command_prints_is_in_the_log_of_the_task(dags, context, sluice, capfd):
    sluice.write_text("#!/bin/sh\necho 'refused: expect_column_mean_to_be_between(weight)' >&2\n")
    run_command(dags, context, "report", "report")
    logged = [line for line in capfd.readouterr().out.splitlines() if "airflow.task." in line]
    assert sum("refused: expect_column_mean_to_be_between(weight)" in line for line in logged) == 1


def test_logs_have_an_hour_or_as_the_variable_says_to_settle(dags, context, monkeypatch):
    from datetime import UTC, datetime, timedelta

    def is_done(day: str) -> bool:
        task = dags["ingest"].get_task("wait_for_logs").prepare_for_execution()
        task.render_template_fields(context | {"partition_key": day})
        return bool(task.poke(context))

    today = datetime.now(UTC).date()
    assert is_done(str(today - timedelta(days=2))) and not is_done(str(today + timedelta(days=1)))
    monkeypatch.setenv("AIRFLOW_VAR_SLUICE_SOURCE_HOURS", "72")
    assert not is_done(str(today - timedelta(days=2)))


def test_training_starts_when_a_day_is_there_that_was_not_only_issued_again(dags, context, sluice, lake, tmp_path):
    from types import SimpleNamespace

    from airflow.sdk import Asset
    from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

    def trains(*is_reissue: bool) -> list[str]:
        events = [SimpleNamespace(extra={"is_reissue": again}) for again in is_reissue]
        run_command(dags, context | {"triggering_asset_events": {Asset("hhsft_examples"): events}}, "hhsft_train", "train")
        return (tmp_path / "called").read_text().split()

    sluice.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/called\n')
    with pytest.raises(AirflowFailException, match=f"hhsft_examples {DAY} is not published"):
        trains()
    raw_receipts(lake, "hhsft_examples", days=(DAY, "2026-01-16"))
    with pytest.raises(AirflowSkipException, match=f"no day before {DAY} to train on"):
        trains(False)
    raw_receipts(lake, "hhsft_examples", days=("2026-01-14",))
    with pytest.raises(AirflowSkipException, match=f"{DAY} was issued again"):
        trains(True)
    assert not (tmp_path / "called").exists()
    expected = ["train", "hhsft", "--until", DAY, "--test-days", "1", "--size", "base", "--days", "28", "--lake", str(lake)]
    assert trains(True, False) == trains() == expected
