"""The only module that knows operators: tables built by spark-submit, in the order that their contracts say.

Settings come from Airflow: the connection `spark_default` names the Spark master, the variable `sluice_lake` the root of all
tables. A day is a run's partition key, because `ds` means another day for each way to start a run.
"""

import json
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.exceptions import AirflowException
from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from airflow.providers.standard.sensors.python import PythonSensor
from airflow.sdk import Asset, BaseHook, CronPartitionTimetable, ObjectStoragePath
from airflow.sdk.exceptions import AirflowFailException, AirflowNotFoundException, AirflowSkipException

from schemas.contract import Contract, load

START = datetime(2026, 1, 1, tzinfo=UTC)
DAILY = CronPartitionTimetable("0 0 * * *", timezone="UTC", run_offset=-1, key_format="%Y-%m-%d")
"""At midnight the day that ended; a later hour would take the last day out of every backfill."""
DEFAULTS = {
    "owner": "sluice",
    "pool": "default_pool",  # another pool would have to be made first: tasks of an unknown one wait for ever, without a word
    "retries": 2,
    "retry_delay": timedelta(minutes=5),
    "execution_timeout": timedelta(hours=6),
}
JOBS = Path(__file__).parents[1] / "jobs"
LAKE = "{{ var.value.sluice_lake }}"
REFUSED = 3
"""Exit code of a job whose gate or books refuse the day: building it again would give the same rows."""


class BuildTable(SparkSubmitOperator):
    """One spark-submit of `jobs/<table>.py` for one day, gate included; its receipt becomes the asset event of the table."""

    template_fields = (*SparkSubmitOperator.template_fields, "day", "receipts")

    def __init__(self, *, table: str, day: str = "{{ partition_key }}", must_be_published: bool = False, **settings: Any) -> None:
        contract = load(table)
        super().__init__(
            application=str(JOBS / f"{table}.py"),
            application_args=["--day", day, "--lake", LAKE],
            name=f"sluice {table} {day}",
            conf={"spark.log.level": "WARN"},
            owner=contract.owner,
            outlets=[Asset(table)],
            **settings,
        )
        self.table, self.day, self.must_be_published = table, day, must_be_published
        self.receipts = receipts_of(contract)

    def execute(self, context: Any) -> None:
        check_day(self.day)
        if self.must_be_published and not is_published(self.receipts, self.day):
            raise AirflowSkipException(f"{self.table} {self.day} was never published: there is nothing to issue again")
        self._check_connection()
        try:
            super().execute(context)
        except AirflowException as error:
            if re.search(rf"Error code is: {REFUSED}\.", str(error)):
                raise AirflowFailException(f"{self.table} {self.day}: the gate or the books refused it; the job's log says why") from error
            raise
        event = context["outlet_events"][Asset(self.table)]
        event.extra = published_facts(self.receipts, self.day)
        event.add_partitions(self.day)

    def _check_connection(self) -> None:
        try:
            BaseHook.get_connection(self._conn_id)
        except AirflowNotFoundException as error:  # the operator would quietly submit to YARN
            raise AirflowFailException(f"no Airflow connection {self._conn_id}: add one that names the Spark master") from error


def build_tables(*tables: str) -> dict[str, BuildTable]:
    """Tasks of the current DAG, one for each table, after those inputs that they need of the same day.

    An input of another owner (a raw table, another DAG's) is waited for. A table whose labels mature is issued again for the
    days whose age its contract names, if they were published; after the inputs that it takes labels from were.
    """
    built = {table: BuildTable(task_id=table, table=table) for table in tables}
    tasks: dict[str, Any] = dict(built)
    for table in tables:
        contract = load(table)
        again = {f"after_{age}": reissue(contract, age) for age in contract.reissue_after}
        tasks |= {task.task_id: task for task in again.values()}
        for upstream in (load(i.table) for i in contract.inputs if 0 in range(*i.window)):
            if upstream.name not in tasks:
                tasks[upstream.name] = wait_for(upstream)
            tasks[upstream.name] >> [built[table], *again.values()]
            for after, task in again.items() if upstream.labels else ():
                known = f"{upstream.name}_{after}"
                if known not in tasks:
                    tasks[known] = wait_for_labels(upstream, task.day, after)
                tasks[known] >> task
    return built


def reissue(contract: Contract, age: int) -> BuildTable:
    """A task that builds the day of that age again: its labels know more by now."""
    day = f"{{{{ macros.ds_add(partition_key, -{age}) }}}}"
    return BuildTable(task_id=f"{contract.name}_after_{age}", table=contract.name, day=day, must_be_published=True)


def wait_for(contract: Contract) -> PythonSensor:
    """A task that ends when the day of a table that this DAG does not build is published."""
    return _sensor(f"wait_for_{contract.name}", is_published, receipts=receipts_of(contract), day="{{ partition_key }}")


def wait_for_labels(contract: Contract, day: str, after: str) -> PythonSensor:
    """A task that ends when the labels of an earlier day of such a table know the day of the run."""
    name = f"wait_for_{contract.name}_{after}"
    return _sensor(name, knows_labels, receipts=receipts_of(contract), day=day, until="{{ partition_key }}")


def _sensor(name: str, is_done: Callable[..., bool], **arguments: str) -> PythonSensor:
    """Asks every five minutes and holds no worker meanwhile."""
    timeout = timedelta(hours=20).total_seconds()
    return PythonSensor(task_id=name, python_callable=is_done, op_kwargs=arguments, mode="reschedule", poke_interval=300, timeout=timeout)


def check_day(day: str) -> None:
    """Raises AirflowFailException when a run has no day: only a schedule, a backfill and REST give a partition key."""
    try:
        date.fromisoformat(day)
    except ValueError as error:
        raise AirflowFailException(f"day is {day!r}: start the run with partition_key, such as 2026-01-05") from error


def receipts_of(contract: Contract) -> str:
    """Folder of the receipts of a table, as a template: `<day>.<n>.json`, where n counts how often the day was published."""
    return f"{LAKE}/{contract.name}/v{contract.version}/_receipts"


def is_published(receipts: str, day: str) -> bool:
    """The newest receipt of that day is of a publish, and not of a withdrawal that left nothing in its place."""
    copies = _copies(receipts, day)
    return bool(copies) and not json.loads(copies[max(copies)].read_text()).get("is_withdrawn")


def knows_labels(receipts: str, day: str, until: str) -> bool:
    """The labels of that day know what arrived up to another, or there will be none: the day was never published."""
    return not is_published(receipts, day) or published_facts(receipts, day)["label_as_of"] >= until


def published_facts(receipts: str, day: str) -> dict[str, Any]:
    """What a consumer pins: version, content hash, rows and label age in the newest receipt of the day."""
    copies = _copies(receipts, day)
    if not copies:
        raise AirflowException(f"the job ended well, but {receipts} has no receipt of {day}; is the lake the one that the job wrote to?")
    receipt = json.loads(copies[max(copies)].read_text())
    if receipt.get("is_withdrawn"):
        raise AirflowFailException(
            f"{receipt['table']} {day} was withdrawn ({receipt['withdrawal']['because']}) and stays so: build it by force"
        )
    return {name: receipt[name] for name in ("table", "day", "version", "content_hash", "rows", "label_as_of")}


def _copies(receipts: str, day: str) -> dict[int, ObjectStoragePath]:
    """Receipts of the day by the number of the publish."""
    check_day(day)
    folder = ObjectStoragePath(receipts)
    if not folder.exists():
        return {}
    found = {re.fullmatch(rf"{day}\.(\d+)\.json", path.name): path for path in folder.iterdir()}
    return {int(match.group(1)): path for match, path in found.items() if match}
