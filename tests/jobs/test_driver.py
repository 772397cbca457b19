"""Tables are built by a driver that could not hold them: what comes back to it is bounded, whatever there is of data."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = """
import json, sys
from datetime import date
from jobs.ingest import ingest
from jobs.messages import cause
from jobs.plan import plan, run_plan
from jobs.session import session
from jobs.storage import open_table
from schemas.contract import load

lake, limit, broadcast = sys.argv[1:]
conf = {"spark.driver.memory": "512m", "spark.driver.maxResultSize": limit, "spark.sql.autoBroadcastJoinThreshold": broadcast}
spark = session("small driver", master="local[2]", conf=conf)
day = date(2026, 1, 1)
done = list(ingest(spark, lake, "simulator", None, (day, day), {"users": "400", "items": "400"}))
done += run_plan(spark, lake, plan(lake, "entire_space", day, day, with_upstream=True))
said = {}
for table in ("requests", "entire_space"):
    found = open_table(lake, load(table))
    try:
        found.read(spark, found.days).collect()
        said[table] = "collected"
    except Exception as error:
        said[table] = cause(error)
print(json.dumps({"published": [[o.table, o.receipt["rows"]] for o in done], "collect": said}))
"""
LIMIT = 1 << 19
"""Bytes that the driver takes of the results of a job. Where it takes 1 GB, these tables bring it 259 KB at most, by a broadcast."""


@pytest.mark.slow
def test_tables_are_built_by_a_driver_that_cannot_take_them(tmp_path):
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "lake"), str(LIMIT), str(LIMIT // 4)]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    rows = dict(told["published"])
    assert len(rows) >= 6 and min(rows["requests"], rows["attributions"], rows["entire_space"]) > 1000, rows
    for table, said in told["collect"].items():
        assert "is bigger than spark.driver.maxResultSize" in said, f"{table} fits the driver: {said}"
