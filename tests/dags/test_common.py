"""A task that builds a table: what it submits, reads, refuses and tells; run against a `spark-submit` made by the test."""

import json
from pathlib import Path

import pytest

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
    assert event.extra == FACTS | {"version": 100}
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
    assert (event.extra["version"], event.partition_keys) == (2, {"2026-01-14"})


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
