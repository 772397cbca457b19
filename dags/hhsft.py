"""HHSFT, a ranker over the entire space: its examples of each day, as soon as the day's samples are there.

They are issued again when the samples are, as their labels mature. Owner: ranking.
"""

from airflow.sdk import DAG

from dags.common import DAILY, DEFAULTS, START, build_tables

with DAG("hhsft", schedule=DAILY, start_date=START, catchup=False, max_active_runs=1, default_args=DEFAULTS, doc_md=__doc__):
    build_tables("hhsft_examples")
