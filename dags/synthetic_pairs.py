"""Long-tail synthesis: how queries are searched, rewrites of rare ones, the pairs made of them, what a retriever and a rewriter learn.

A day's tables are final when they are built: they look back only. Owner: retrieval.
"""

from airflow.sdk import DAG

from dags.common import DAILY, DEFAULTS, START, build_tables

with DAG("synthetic_pairs", schedule=DAILY, start_date=START, catchup=False, max_active_runs=1, default_args=DEFAULTS, doc_md=__doc__):
    build_tables("query_stats", "query_rewrites", "synthetic_pairs", "retriever_examples", "query_rewriter_examples")
