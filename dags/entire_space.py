"""Entire-space samples: events credited to requests, what queries lead to, text vectors, then the samples of each day.

A day's samples are issued again after 1, 3 and 8 days, as their labels mature. Owner: ranking.
"""

from airflow.sdk import DAG

from dags.common import DAILY, DEFAULTS, START, build_tables

with DAG("entire_space", schedule=DAILY, start_date=START, catchup=False, max_active_runs=1, default_args=DEFAULTS, doc_md=__doc__):
    build_tables("attributions", "query_item_stats", "text_vectors", "entire_space")
