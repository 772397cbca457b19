"""Leftovers of dead runs and files that were replaced, removed each noon. Owner: sluice.

For lakes on a file system: an object store has rules of its own for old versions.
"""

from airflow.sdk import DAG

from dags.common import DEFAULTS, NOON, START, Command

with DAG("maintenance", schedule=NOON, start_date=START, catchup=False, max_active_runs=1, default_args=DEFAULTS, doc_md=__doc__):
    Command(task_id="maintain", command="maintain")
