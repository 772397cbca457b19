"""Raw logs of each day through their gates: items, requests, events. Owner: sluice.

The variable `sluice_source` says where they come from.
"""

from airflow.sdk import DAG

from dags.common import DAILY, DEFAULTS, START, ingest

with DAG("ingest", schedule=DAILY, start_date=START, catchup=False, max_active_runs=1, default_args=DEFAULTS, doc_md=__doc__):
    ingest("items", "requests", "events")
