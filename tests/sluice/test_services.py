"""`sluice up` and `sluice down` without starting anything: what they refuse, choose and write. Started for real in tests/dags."""

import configparser
import json
import os
import socket
import stat
import subprocess
from datetime import UTC, datetime, timedelta

import psutil
import pytest
from typer.testing import CliRunner

from schemas.contract import parse_days
from sluice import running
from sluice.airflow_home import PASSWORDS, configure, environment, simulated_shop
from sluice.main import app
from sluice.processes import Services, note

SERVICES = Services("mark", "/lake", {"airflow": 8123, "spark": 7123, "spark_ui": 8124, "worker_ui": 8125})


def call(*arguments):
    return CliRunner().invoke(app, [str(each) for each in arguments])


def airflow_cfg(home):
    config = configparser.ConfigParser(interpolation=None)
    config.read(home / "airflow" / "airflow.cfg")
    return config


def test_without_airflow_it_says_how_to_install_it(monkeypatch, tmp_path):
    monkeypatch.setattr("sluice.services.find_spec", lambda name: None)
    for command in ("up", "down"):
        done = call(command, "--home", tmp_path)
        assert (done.exit_code, "make airflow" in done.stderr) == (1, True)


def test_down_with_nothing_started_says_so(tmp_path):
    assert call("down", "--home", tmp_path).stdout == f"nothing runs that was started in {tmp_path}\n"
    assert json.loads(call("down", "--home", tmp_path, "--json").stdout) == {"stopped": []}


@pytest.fixture
def six_services(tmp_path):
    """As if `sluice up` had started them."""
    with subprocess.Popen(["sleep", "60"]) as process:
        each = (process.pid, psutil.Process(process.pid).create_time())
        names = (*running.AIRFLOW, "spark-master", "spark-worker")
        services = Services("mark", "/lake", SERVICES.ports, dict.fromkeys(names, each))
        note(tmp_path, services)
        yield services
        process.kill()


def test_a_second_up_says_that_it_runs_and_where(six_services, tmp_path):
    done = call("up", "--home", tmp_path, "--lake", "/another")
    assert done.exit_code == 0
    for fact in ("Running already", "http://127.0.0.1:8123", "spark://127.0.0.1:7123", "/lake", str(tmp_path / PASSWORDS)):
        assert fact in done.stdout
    assert f"sluice down --home {tmp_path}" in done.stdout
    assert json.loads(call("up", "--home", tmp_path, "--json").stdout)["was_running"] is True


def test_up_beside_what_is_left_of_a_crash_says_what_to_do(six_services, tmp_path):
    six_services.processes["scheduler"] = (2**22 + 1, 1.0)
    note(tmp_path, six_services)
    done = call("up", "--home", tmp_path)
    assert done.exit_code == 1
    assert f"scheduler ended (logs in {tmp_path}/logs)" in done.stderr and f"sluice down --home {tmp_path}" in done.stderr


def test_one_up_or_down_at_a_time(tmp_path):
    with running._alone(tmp_path):
        done = call("down", "--home", tmp_path)
    assert (done.exit_code, "another sluice up or down works in" in done.stderr) == (1, True)


def test_a_port_that_is_taken_is_replaced():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        wanted = taken.getsockname()[1]
        assert running._port(wanted) not in (wanted, 0)
    assert running._port(wanted) == wanted


def test_secrets_are_private_and_stay(tmp_path):
    configure(tmp_path, SERVICES, 2, 600)
    files = [tmp_path / "airflow" / "airflow.cfg", tmp_path / "spark" / "spark-defaults.conf", tmp_path / PASSWORDS]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert {stat.S_IMODE(path.parent.stat().st_mode) for path in files} == {0o700}
    first, password = airflow_cfg(tmp_path), files[2].read_text()
    assert len(first["api_auth"]["jwt_secret"]) == 128 and len(json.loads(password)["admin"]) >= 16
    configure(tmp_path, SERVICES, 2, 600)
    again = airflow_cfg(tmp_path)
    for section, key in (("api_auth", "jwt_secret"), ("core", "fernet_key"), ("api", "secret_key")):
        assert again[section][key] == first[section][key] != ""
    assert files[2].read_text() == password


def test_what_a_person_wrote_into_airflow_cfg_stays_but_for_what_must_fit(tmp_path):
    (tmp_path / "airflow").mkdir()
    (tmp_path / "airflow" / "airflow.cfg").write_text("[smtp]\nsmtp_host = mail\n[core]\nexecutor = X\nhide_sensitive = True\n")
    configure(tmp_path, SERVICES, 3, 600)
    config = airflow_cfg(tmp_path)
    assert config["smtp"]["smtp_host"] == "mail" and config["core"]["hide_sensitive"] == "True"
    assert (config["core"]["executor"], config["core"]["parallelism"]) == ("LocalExecutor", "3")
    assert (config["api"]["host"], config["api"]["base_url"]) == ("127.0.0.1", "http://127.0.0.1:8123")
    assert config["usage_data_collection"]["enabled"] == "False"


def test_only_who_knows_the_secret_submits_and_nobody_by_rest(tmp_path):
    configure(tmp_path, SERVICES, 2, 600)
    lines = (tmp_path / "spark" / "spark-defaults.conf").read_text().splitlines()
    settings = dict(line.split(" ", 1) for line in lines)
    assert (settings["spark.authenticate"], settings["spark.master.rest.enabled"]) == ("true", "false")
    assert len(settings["spark.authenticate.secret"]) == 64
    assert settings["spark.driver.memory"] == settings["spark.executor.memory"] == "600m"


def test_services_get_no_settings_of_another_airflow_or_spark(tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")
    monkeypatch.setenv("SPARK_MASTER_HOST", "0.0.0.0")
    monkeypatch.setenv("no_proxy", "intranet")
    monkeypatch.setenv("AWS_REGION", "eu-1")
    env = environment(tmp_path)
    assert env["AIRFLOW_HOME"] == str(tmp_path / "airflow") and env["AWS_REGION"] == "eu-1"
    assert not {"AIRFLOW__CORE__EXECUTOR", "SPARK_MASTER_HOST"} & set(env)
    assert env["no_proxy"] == env["NO_PROXY"] == "127.0.0.1,localhost,intranet"
    assert env["PATH"].split(os.pathsep)[0] == os.path.dirname(env["PYSPARK_PYTHON"])


def test_the_simulated_shop_has_yesterday_and_days_before_it():
    span = simulated_shop().split("--span ")[1]
    first, last = parse_days(span)
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    assert first <= yesterday - timedelta(days=10) and last >= yesterday + timedelta(days=30)
    from jobs.sources.simulator import _plan

    options = {"users": "40", "items": "800", "span": span}
    assert _plan(None, (yesterday, yesterday), options)[0].num_days == (last - first).days + 1
