"""The only module that knows operators: tables built by spark-submit, in the order that their contracts say, and commands.

Settings come from Airflow: the connection `spark_default` names the Spark master, the variable `sluice_lake` the root of all
tables; dags/README.md lists them all. A day is a run's partition key, because `ds` means another day for each way to start a run.
"""

import json
import re
import shlex
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.exceptions import AirflowException
from airflow.providers.apache.spark.hooks.spark_submit import SparkSubmitHook
from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from airflow.providers.standard.hooks.subprocess import SubprocessHook
from airflow.providers.standard.sensors.python import PythonSensor
from airflow.sdk import Asset, BaseHook, BaseOperator, CronPartitionTimetable, PartitionedAssetTimetable
from airflow.sdk.exceptions import AirflowFailException, AirflowNotFoundException, AirflowSkipException

from schemas.address import files_in, read_whole
from schemas.contract import Contract, load

START = datetime(2026, 1, 1, tzinfo=UTC)
DAILY = CronPartitionTimetable("0 0 * * *", timezone="UTC", run_offset=-1, key_format="%Y-%m-%d")
"""At midnight the day that ended; a later hour would take the last day out of every backfill."""
NOON = CronPartitionTimetable("0 12 * * *", timezone="UTC", run_offset=-1, key_format="%Y-%m-%d")
"""At noon the day that ended: by then its tables are there, or somebody wants to know."""
DEFAULTS = {
    "owner": "sluice",
    "pool": "default_pool",  # another pool would have to be made first: tasks of an unknown one wait for ever, without a word
    "retries": 2,
    "retry_delay": timedelta(minutes=5),
    "execution_timeout": timedelta(hours=6),
}
SPARK = "spark_default"
JOBS = Path(__file__).parents[1] / "jobs"
LAKE = "{{ var.value.sluice_lake }}"
WRONG_USE, REFUSED = 2, 3
"""Exit codes of commands and jobs; 3 when gate or books refuse the day: building it again would give the same rows."""


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
            max_active_tis_per_dag=1,  # a backfill's runs too: a day after another
            **settings,
        )
        self.table, self.day, self.must_be_published = table, day, must_be_published
        self.receipts = receipts_of(contract)

    def execute(self, context: Any) -> None:
        check_day(self.day)
        if self.must_be_published and not is_published(self.receipts, self.day):
            raise AirflowSkipException(f"{self.table} {self.day} was never published: there is nothing to issue again")
        check_connection()
        try:
            super().execute(context)
        except AirflowException as error:
            if re.search(rf"Error code is: {REFUSED}\.", str(error)):
                raise AirflowFailException(f"{self.table} {self.day}: the gate or the books refused it; the job's log says why") from error
            raise
        tell(context, self.table, self.receipts, self.day, is_reissue=self.must_be_published)


class Command(BaseOperator):
    """One run of the command line, in the folder that the variable `sluice_home` names; what it prints is the task's log."""

    template_fields = ("command", "home", "day")
    final = (WRONG_USE, REFUSED)
    """Exit codes after which no other try is made."""

    def __init__(self, *, command: str, day: str = "{{ partition_key }}", **settings: Any) -> None:
        super().__init__(max_active_tis_per_dag=1, **settings)
        self.command, self.day = f"sluice {command} --lake '{LAKE}'", day
        self.home = "{{ var.value.sluice_home }}"
        self.hook = SubprocessHook()

    def arguments(self) -> list[str]:
        """What is started; no shell reads it, so a variable cannot do more than give arguments."""
        return shlex.split(self.command)

    def execute(self, context: Any) -> None:
        check_day(self.day)
        Path(self.home).mkdir(parents=True, exist_ok=True)
        code = self.hook.run_command(self.arguments(), cwd=self.home).exit_code
        if code:
            failure = AirflowFailException if code in self.final else AirflowException
            raise failure(f"{self.command} ended with {code}; the log above says why")

    def on_kill(self) -> None:
        self.hook.send_sigterm()


class Ingest(Command):
    """The day of a source through its gates into the raw tables; what they publish becomes the events of their assets."""

    template_fields = (*Command.template_fields, "receipts")
    final = (WRONG_USE,)  # a day that is refused may be complete an hour later

    def __init__(self, *, tables: tuple[str, ...], **settings: Any) -> None:
        days = "{{ partition_key }}..{{ partition_key }}"
        outlets = [Asset(table) for table in tables]
        super().__init__(command=f"ingest {{{{ var.value.sluice_source }}}} --days {days}", outlets=outlets, **settings)
        self.receipts = {table: receipts_of(load(table)) for table in tables}

    def arguments(self) -> list[str]:
        return [*super().arguments(), "--master", SparkSubmitHook(conn_id=SPARK)._connection["master"]]

    def execute(self, context: Any) -> None:
        check_connection()
        super().execute(context)
        for table, receipts in self.receipts.items():
            tell(context, table, receipts, self.day)


class Train(Command):
    """Training on the days before the one that was published, measured on that one."""

    template_fields = (*Command.template_fields, "receipts")

    def __init__(self, *, model: str, **settings: Any) -> None:
        contract = load(f"{model}_examples")
        options = f"{{{{ var.value.get('sluice_train_{model}', '') }}}}"
        command = f"train {model} --until {{{{ partition_key }}}} --test-days 1 {options}"
        super().__init__(command=command, owner=contract.owner, **settings)
        self.table, self.receipts = contract.name, receipts_of(contract)

    def execute(self, context: Any) -> None:
        if not is_published(self.receipts, self.day):
            raise AirflowFailException(f"{self.table} {self.day} is not published: there is nothing to measure on")
        events = context["triggering_asset_events"].get(Asset(self.table), ())
        if events and all(event.extra["is_reissue"] for event in events):
            raise AirflowSkipException(f"{self.table} {self.day} was issued again; the training of the next day reads it")
        if not _published_before(self.receipts, self.day):
            raise AirflowSkipException(f"{self.table} has no day before {self.day} to train on")
        super().execute(context)


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


def ingest(*tables: str) -> None:
    """Tasks of the current DAG that publish the day of these raw tables from the source, once its logs had time to settle."""
    settled = _sensor("wait_for_logs", is_settled, day="{{ partition_key }}", hours="{{ var.value.get('sluice_source_hours', '1') }}")
    settled >> Ingest(task_id="ingest", tables=tables, retries=6, retry_delay=timedelta(hours=1))


def on_published(table: str) -> PartitionedAssetTimetable:
    """Schedule of a DAG that runs for each day of a table when it is published, with that day as its partition key."""
    return PartitionedAssetTimetable(assets=Asset(table))


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
    """Asks after half a minute, then ever more rarely, at last every five minutes; it holds no worker meanwhile."""
    asking = {"mode": "reschedule", "poke_interval": 30, "exponential_backoff": True, "max_wait": timedelta(minutes=5)}
    timeout = timedelta(hours=20).total_seconds()
    return PythonSensor(task_id=name, python_callable=is_done, op_kwargs=arguments, timeout=timeout, **asking)


def check_day(day: str) -> None:
    """Raises AirflowFailException when a run has no day: only a schedule, a backfill and REST give a partition key."""
    try:
        date.fromisoformat(day)
    except ValueError as error:
        raise AirflowFailException(f"day is {day!r}: start the run with partition_key, such as 2026-01-05") from error


def receipts_of(contract: Contract) -> str:
    """Folder of the receipts of a table, as a template: `<day>.<n>.json`, where n counts how often the day was published."""
    return f"{LAKE}/{contract.name}/v{contract.version}/_receipts"


def check_connection() -> None:
    """Raises AirflowFailException when no connection names the Spark master: the operator would quietly submit to YARN."""
    try:
        BaseHook.get_connection(SPARK)
    except AirflowNotFoundException as error:
        raise AirflowFailException(f"no Airflow connection {SPARK}: add one that names the Spark master") from error


def is_settled(day: str, hours: str) -> bool:
    """The day has been over for so many hours."""
    check_day(day)
    return datetime.now(UTC) >= datetime.fromisoformat(f"{day}T00:00+00:00") + timedelta(days=1, hours=float(hours))


def is_published(receipts: str, day: str) -> bool:
    """The newest receipt of that day is of a publish, and not of a withdrawal that left nothing in its place."""
    copies = _copies(receipts, day)
    return bool(copies) and not json.loads(read_whole(copies[max(copies)])).get("is_withdrawn")


def knows_labels(receipts: str, day: str, until: str) -> bool:
    """The labels of that day know what arrived up to another, or there will be none: the day was never published."""
    return not is_published(receipts, day) or published_facts(receipts, day)["label_as_of"] >= until


def tell(context: Any, table: str, receipts: str, day: str, *, is_reissue: bool = False) -> None:
    """Put what was published on the event of the table's asset, for that day."""
    event = context["outlet_events"][Asset(table)]
    event.extra = published_facts(receipts, day) | {"is_reissue": is_reissue}
    event.add_partitions(day)


def published_facts(receipts: str, day: str) -> dict[str, Any]:
    """What a consumer pins: version, content hash, rows and label age in the newest receipt of the day, and where that lies."""
    copies = _copies(receipts, day)
    if not copies:
        raise AirflowException(f"the job ended well, but {receipts} has no receipt of {day}; is the lake the one that the job wrote to?")
    newest = copies[max(copies)]
    receipt = json.loads(read_whole(newest))
    if receipt.get("is_withdrawn"):
        raise AirflowFailException(
            f"{receipt['table']} {day} was withdrawn ({receipt['withdrawal']['because']}) and stays so: build it by force"
        )
    return {name: receipt[name] for name in ("table", "day", "version", "content_hash", "rows", "label_as_of")} | {"receipt": newest}


def _published_before(receipts: str, day: str) -> bool:
    """An earlier day has a receipt."""
    return any(re.fullmatch(r"\d{4}-\d\d-\d\d\.\d+\.json", name) and name < day for name in files_in(receipts))


def _copies(receipts: str, day: str) -> dict[int, str]:
    """Receipts of the day by the number of the publish."""
    check_day(day)
    found = [re.fullmatch(rf"{day}\.(\d+)\.json", name) for name in files_in(receipts)]
    return {int(match.group(1)): f"{receipts}/{match.group()}" for match in found if match}
