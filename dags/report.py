"""The report of the lake each noon: red when a day is missing, refused, stale or overdue, which the hook hears. Owner: sluice."""

from airflow.sdk import DAG

from dags.common import DEFAULTS, NOON, START, Command

with DAG("report", schedule=NOON, start_date=START, catchup=False, max_active_runs=1, default_args=DEFAULTS, doc_md=__doc__):
    Command(task_id="report", command="report --until {{ partition_key }} --notify")
