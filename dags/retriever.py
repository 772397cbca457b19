"""The retriever's training: on the day of its examples before each one that is published, measured on that one. Owner: retrieval."""

from airflow.sdk import DAG

from dags.common import DEFAULTS, START, Train, on_published

EXAMPLES = on_published("retriever_examples")
with DAG("retriever", schedule=EXAMPLES, start_date=START, catchup=False, max_active_runs=1, default_args=DEFAULTS, doc_md=__doc__):
    Train(task_id="train", model="retriever")
