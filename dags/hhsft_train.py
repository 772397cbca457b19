"""HHSFT's training: on the days before each day of its examples that is published, measured on that day. Owner: ranking.

Days that are issued again start no training of their own: that of the next day reads them.
"""

from airflow.sdk import DAG

from dags.common import DEFAULTS, START, Train, on_published

EXAMPLES = on_published("hhsft_examples")
with DAG("hhsft_train", schedule=EXAMPLES, start_date=START, catchup=False, max_active_runs=1, default_args=DEFAULTS, doc_md=__doc__):
    Train(task_id="train", model="hhsft")
