"""Task seconds of a run: of its own jobs, not of the clock, and not of what runs beside it."""

import threading
import time

from jobs.measure import JOB_GROUP, measured, task_seconds


def work(spark, rows=3_000_000):
    assert spark.range(0, rows, 1, 2).where("sqrt(id) >= 0").count() == rows


def test_core_seconds_are_those_of_tasks_and_not_of_the_clock(spark):
    assert task_seconds(spark, "one") == 0
    with measured(spark, "one"):
        time.sleep(0.3)
        work(spark)
    seconds = task_seconds(spark, "one")
    assert seconds > 0
    work(spark)
    time.sleep(0.3)
    assert task_seconds(spark, "one") == seconds
    assert spark.sparkContext.getLocalProperty(JOB_GROUP) is None


def test_runs_in_threads_are_told_apart(spark):
    meet = threading.Barrier(2)

    def run(name, rows):
        with measured(spark, name):
            meet.wait(30)
            work(spark.newSession(), rows)
            meet.wait(30)

    threads = [threading.Thread(target=run, args=args) for args in (("small", 10), ("large", 20_000_000))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert task_seconds(spark, "large") > 5 * task_seconds(spark, "small")
    assert task_seconds(spark, "nobody") == 0
