"""Commands that start and stop what the DAGs need on this machine: Airflow and a Spark cluster."""

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from sluice.options import LAKE, Json, Lake, do

app = typer.Typer(rich_markup_mode=None)
Home = Annotated[Path, typer.Option("--home", help="Folder of what the services write: settings, logs, models, the report. Not in a lake.")]
HOME = Path("./sluice-home")


@app.command()
def up(
    lake: Lake = LAKE,
    home: Home = HOME,
    source: Annotated[
        str | None,
        typer.Option("--source", help="Where the DAG `ingest` reads, as `sluice ingest` takes it. Default at first: a simulated shop."),
    ] = None,
    memory: Annotated[int, typer.Option("--memory", min=512, help="Megabytes of each Spark driver and executor.")] = 1024,
    as_json: Json = False,
) -> None:
    """Start Airflow and a Spark cluster on this machine.

    They run the DAGs on the lake, on loopback only, until `sluice down`. Ends when all is healthy.

    \b
    Example: sluice up --lake ./lake
    """

    def work() -> None:
        _need_airflow()
        from sluice import running

        found, was_running = running.run_up(home.resolve(), lake, source, memory)
        _show(home.resolve(), found, was_running, as_json)

    do(work)


@app.command()
def down(home: Home = HOME, as_json: Json = False) -> None:
    """Stop what `sluice up` started there, and nothing else.

    Runs that are under way are stopped too; when the services are up again, Airflow tries them again. Nothing is lost by it.

    \b
    Example: sluice down
    """

    def work() -> None:
        _need_airflow()
        from sluice import running
        from sluice.screens import print_json

        stopped = running.run_down(home.resolve())
        if as_json:
            print_json({"stopped": stopped})
        else:
            print(f"stopped {', '.join(stopped)}" if stopped else f"nothing runs that was started in {home}")

    do(work)


def _show(home: Path, services: Any, was_running: bool, as_json: bool) -> None:
    from sluice.airflow_home import PASSWORDS, USER
    from sluice.screens import print_json

    airflow, spark_ui, master = services.address("airflow"), services.address("spark_ui"), services.address("spark", "spark")
    if as_json:
        found = {"airflow": airflow, "user": USER, "password_file": str(home / PASSWORDS), "spark_ui": spark_ui, "spark": master}
        print_json(found | {"lake": services.lake, "home": str(home), "was_running": was_running, "processes": services.processes})
        return
    print(
        f"{'Running already' if was_running else 'Healthy'}. Nothing of it listens beyond this machine.\n\n"
        f"  Airflow   {airflow}   user {USER}, password in {home / PASSWORDS}\n"
        f"  Spark     {spark_ui}   master {master}\n"
        f"  lake      {services.lake}\n"
        f"  logs      {home / 'logs'}; the models and the report go to {home}\n\n"
        "In Airflow, switch on ingest, entire_space, hhsft and hhsft_train: each runs for yesterday at once. Under Admin are variables\n"
        "that say where logs come from and where the lake is. Earlier days, with the DAG switched on:\n\n"
        f"  AIRFLOW_HOME={home / 'airflow'} airflow backfill create --dag-id ingest --from-date 2026-01-01 --to-date 2026-01-03\n\n"
        f"Stop all of it: sluice down --home {home}"
    )


def _need_airflow() -> None:
    from jobs.jars import SetupError

    if find_spec("airflow") is None:
        raise SetupError("sluice up needs Airflow, which nothing else here does; install it: make airflow")
