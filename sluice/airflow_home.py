"""The folders that Airflow and Spark are started with: their configuration, their secrets, and Airflow's settings by REST."""

import configparser
import json
import os
import secrets
import sys
from base64 import urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from io import StringIO
from pathlib import Path

import httpx

from sluice.processes import Services, write_private

USER = "admin"
PASSWORDS = "airflow/passwords.json"


def environment(home: Path) -> dict[str, str]:
    """For all services: this Python's programs first, settings of another Airflow or Spark left out, loopback past any proxy."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "SPARK_"))}
    direct = ",".join(["127.0.0.1", "localhost", *filter(None, [os.environ.get("no_proxy") or os.environ.get("NO_PROXY")])])
    return kept | {
        "AIRFLOW_HOME": str(home / "airflow"),
        "SPARK_HOME": _folder_of("pyspark"),
        "SPARK_CONF_DIR": str(home / "spark"),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_DAEMON_MEMORY": "512m",
        "PYSPARK_PYTHON": sys.executable,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "NO_PROXY": direct,
        "no_proxy": direct,
        "SPT_NOENV": "1",  # Airflow renames its processes, by default over their environment, which is how they are found
    }


def configure(home: Path, services: Services, slots: int, memory: int) -> None:
    """Write the files that both read when they start; what a person added to airflow.cfg stays."""
    _configure_airflow(home, services, slots)
    _configure_spark(home, slots, memory)


def _configure_airflow(home: Path, services: Services, slots: int) -> None:
    path, config = home / "airflow" / "airflow.cfg", configparser.ConfigParser(interpolation=None)
    address, port = services.address("airflow"), str(services.ports["airflow"])
    fernet, token = urlsafe_b64encode(secrets.token_bytes(32)).decode(), secrets.token_hex(64)
    fresh = {"core": {"fernet_key": fernet}, "api": {"secret_key": secrets.token_hex(32)}, "api_auth": {"jwt_secret": token}}
    ours = {
        "core": {
            "dags_folder": _folder_of("dags"),
            "executor": "LocalExecutor",
            "parallelism": str(slots),
            "load_examples": "False",
            "simple_auth_manager_users": f"{USER}:admin",
            "simple_auth_manager_passwords_file": str(home / PASSWORDS),
            "execution_api_server_url": f"{address}/execution/",
        },
        "api": {"host": "127.0.0.1", "port": port, "base_url": address, "workers": "1"},
        "usage_data_collection": {"enabled": "False"},
    }
    config.read_dict(fresh)
    config.read(path)
    config.read_dict(ours)
    draft = StringIO()
    config.write(draft)
    write_private(path, draft.getvalue())
    if not (home / PASSWORDS).exists():
        write_private(home / PASSWORDS, json.dumps({USER: secrets.token_urlsafe(12)}) + "\n")


def _configure_spark(home: Path, slots: int, memory: int) -> None:
    """So many jobs at once; who submits one must know a secret that only this user can read."""
    settings = {
        "spark.authenticate": "true",
        "spark.authenticate.secret": secrets.token_hex(32),
        "spark.master.rest.enabled": "false",
        "spark.cores.max": str(max(1, (os.cpu_count() or 2) // slots)),
        "spark.driver.memory": f"{memory}m",
        "spark.executor.memory": f"{memory}m",
        "spark.sql.shuffle.partitions": str(os.cpu_count() or 2),
    }
    write_private(home / "spark" / "spark-defaults.conf", "".join(f"{name} {value}\n" for name, value in settings.items()))


def _folder_of(package: str) -> str:
    """Where a package lies; it is not imported."""
    return next(iter(find_spec(package).submodule_search_locations))


def rest(home: Path, services: Services) -> httpx.Client:
    """Airflow's REST API, as the administrator that these folders know."""
    login = {"username": USER, "password": json.loads((home / PASSWORDS).read_text())[USER]}
    answer = httpx.post(f"{services.address('airflow')}/auth/token", json=login, trust_env=False, timeout=60).raise_for_status()
    headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
    return httpx.Client(base_url=services.address("airflow"), headers=headers, trust_env=False, timeout=60)


def write_settings(api: httpx.Client, home: Path, services: Services, source: str | None) -> None:
    """The connection and the variables that the DAGs read. A source that somebody set stays unless another is given."""
    set_variable(api, "sluice_lake", services.lake)
    set_variable(api, "sluice_home", str(home))
    if source or api.get("/api/v2/variables/sluice_source").status_code == httpx.codes.NOT_FOUND:
        set_variable(api, "sluice_source", source or simulated_shop())
    master = {"connection_id": "spark_default", "conn_type": "spark", "host": "spark://127.0.0.1", "port": services.ports["spark"]}
    _put(api, "connections", "spark_default", master)


def set_variable(api: httpx.Client, name: str, value: str) -> None:
    _put(api, "variables", name, {"key": name, "value": value})


def _put(api: httpx.Client, kind: str, name: str, body: dict[str, object]) -> None:
    answer = api.patch(f"/api/v2/{kind}/{name}", json=body)
    if answer.status_code == httpx.codes.NOT_FOUND:
        answer = api.post(f"/api/v2/{kind}", json=body)
    answer.raise_for_status()


def simulated_shop() -> str:
    """A source that has logs from two weeks ago on, for a quarter."""
    today = datetime.now(UTC).date()
    return f"simulator --users 40 --items 800 --span {today - timedelta(days=14)}..{today + timedelta(days=90)}"
