"""All reading and staging: where tables lie in a lake, which days are published, their rows at one pinned version.

A table lies at `<lake>/<table>/v<version>`. A day's files are written to `day=D/b=<run_id>/split=<split>/` under that root
and belong to the table only once a commit of `jobs.commit` names them.
"""

import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pyarrow.fs as pafs
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError

from schemas.address import delta_options, filesystem, is_local, lake_address, spark_address, write_whole
from schemas.contract import Contract, ContractError
from schemas.derive import spark_schema

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

RECEIPTS = "_receipts"
PLANS = "_plans"
OWNER = "_owner.json"
"""In a scratch folder: which process, on which host, since when."""
MISREAD = r"[#?*\[\]{}\\]|%[0-9A-Fa-f]{2}"  # in a path: a fragment, a query, a pattern, an escape


class NotPublishedError(RuntimeError):
    """A day that is asked for was not published, or not as asked; the message says what to run."""


def table_root(lake: str | os.PathLike[str], contract: Contract) -> str:
    """Root of the Delta table that holds this version of the contract."""
    return f"{lake_address(lake)}/{contract.name}/v{contract.version}"


def versions(lake: str, contract: Contract) -> list[int]:
    """Versions of the contract that have a folder in the lake, in order."""
    fs, path = filesystem(f"{lake_address(lake)}/{contract.name}")
    infos = fs.get_file_info(pafs.FileSelector(path, allow_not_found=True))
    return sorted(int(i.base_name[1:]) for i in infos if not i.is_file and re.fullmatch(r"v\d+", i.base_name))


def publish_id(day: date) -> str:
    """Delta application id that counts how often a day was published."""
    return f"publish:day={day.isoformat()}"


def withdraw_id(day: date) -> str:
    """Delta application id that holds at which change of a day it was withdrawn with nothing in its place."""
    return f"withdraw:day={day.isoformat()}"


@dataclass(frozen=True)
class Table:
    """A Delta table at one version; `delta` is None while nothing was ever published."""

    contract: Contract
    root: str
    delta: DeltaTable | None = field(compare=False)
    _receipts: dict[tuple[date, int], dict[str, Any]] = field(default_factory=dict, init=False, compare=False, repr=False)
    _counts: dict[str, int] = field(default_factory=dict, init=False, compare=False, repr=False)

    @property
    def version(self) -> int | None:
        return None if self.delta is None else self.delta.version()

    def changes(self, day: date) -> int:
        """How often the day was published or withdrawn; 0 is never. A run that finds another number was overtaken."""
        return self._count(publish_id(day))

    def _count(self, transaction: str) -> int:
        """What the log says of a transaction: asked once, since that takes a millisecond and a plan asks thousands of times."""
        if self.delta is not None and transaction not in self._counts:
            self._counts[transaction] = self.delta.transaction_version(transaction) or 0
        return self._counts.get(transaction, 0)

    def publishes(self, day: date) -> int:
        """The change that the day stands at; 0 when it was never published, or withdrawn with nothing in its place."""
        count = self.changes(day)
        return 0 if count and self._count(withdraw_id(day)) == count else count

    @cached_property
    def days(self) -> list[date]:
        """Published days, in order, those with no rows included."""
        return [d for d in self.days_ever if self.publishes(d)]

    @cached_property
    def days_ever(self) -> list[date]:
        """Days that were ever published, in order, those withdrawn since included."""
        if self.delta is None:
            return []
        with_rows = {p["day"] for p in self.delta.partitions()}
        fs, path = filesystem(f"{self.root}/{RECEIPTS}")
        copies = fs.get_file_info(pafs.FileSelector(path, allow_not_found=True))
        named = with_rows | {info.base_name[:10] for info in copies}
        days = [date.fromisoformat(n) for n in named if re.fullmatch(r"\d{4}-\d{2}-\d{2}", n)]
        return sorted(d for d in days if self.changes(d))

    def receipt(self, day: date) -> dict[str, Any]:
        """The receipt of the day as it stands at this version. Raises NotPublishedError when it was never published."""
        count = self.publishes(day)
        if not count and self.changes(day):
            raise NotPublishedError(withdrawn_sentence(self.change(day, self.changes(day))))
        if not count:
            raise NotPublishedError(f"{self.contract.name} {day} is not published in {self.root}; {how_to_publish(self.contract, day)}")
        return self.change(day, count)

    def change(self, day: date, count: int) -> dict[str, Any]:
        """The receipt of one change of a day, counted from 1: of a publish, or of a withdrawal."""
        if (day, count) not in self._receipts:
            fs, path = filesystem(receipt_path(self.root, day, count))
            try:
                with fs.open_input_stream(path) as stream:
                    self._receipts[day, count] = json.loads(stream.read())
            except FileNotFoundError:
                self._receipts[day, count] = self._receipt_from_log(day, count)
        return dict(self._receipts[day, count])

    def built(self, day: date) -> dict[str, Any]:
        """The receipt of the newest build of the day, whether it stands or was withdrawn."""
        count = self.changes(day)
        while "withdrawal" in self.change(day, count):
            count -= 1
        return self.change(day, count)

    def _receipt_from_log(self, day: date, count: int) -> dict[str, Any]:
        """Rebuild the durable copy, which a run that was killed after its commit did not write."""
        for version, metadata in _commits(self.root):
            receipt = json.loads(metadata)
            if receipt.get("day") == day.isoformat() and receipt.get("publish") == count:
                receipt["version"] = version
                write_receipt(self.root, receipt)
                return receipt
        raise NotPublishedError(
            f"{self.contract.name} {day} has lost its receipt: neither {RECEIPTS} nor the log of {self.root} holds it; "
            f"{how_to_publish(self.contract, day)} --force"
        )

    def receipts(self, days: Sequence[date] | None = None) -> list[dict[str, Any]]:
        """Receipts of the published days among `days` (all when None), in order."""
        chosen = self.days if days is None else [d for d in days if self.publishes(d)]
        return [self.receipt(day) for day in chosen]

    def files(self, days: Sequence[date]) -> list[str]:
        """Addresses of the parquet files that hold these days."""
        if self.delta is None or not days:
            return []
        uris = self.delta.file_uris([("day", "in", [d.isoformat() for d in days])])
        return sorted(unquote(uri) if "://" not in uri else uri for uri in uris)

    def read(self, spark: "SparkSession", days: Sequence[date]) -> "DataFrame":
        """Rows of these days with the contract's columns, in its order."""
        return read_files(spark, self.contract, self.files(days))


def open_table(lake: str | os.PathLike[str], contract: Contract, version: int | None = None) -> Table:
    """The table at a version (the newest when None)."""
    root = table_root(lake, contract)
    try:
        return Table(contract, root, DeltaTable(root, version=version, storage_options=delta_options(root)))
    except TableNotFoundError:
        if version is not None:
            raise NotPublishedError(f"{contract.name} has no version {version} in {root}: it was never published") from None
        return Table(contract, root, None)


def read_files(spark: "SparkSession", contract: Contract, files: Sequence[str], extra: Sequence[Any] = ()) -> "DataFrame":
    """Parquet files of a table as a frame: every column nullable, `day` taken from the folder; `extra` are further StructFields.

    The folder is read from the path and not by partition discovery, which refuses a table that was partly compacted.
    """
    from pyspark.sql import functions as F
    from pyspark.sql.types import StructType

    schema = spark_schema(contract)
    if not files:
        return spark.createDataFrame([], StructType([*schema.fields, *extra]))
    inside = StructType([f for f in schema.fields if f.name != "day"] + list(extra))
    rows = spark.read.schema(inside).option("recursiveFileLookup", "true").parquet(*map(spark_address, files))
    day = F.to_date(F.regexp_extract("_metadata.file_path", r"day=(\d{4}-\d{2}-\d{2})/", 1)).alias("day")
    return rows.select(day, *(F.col(f"`{f.name}`") for f in inside.fields))


def withdrawn_sentence(receipt: dict[str, Any]) -> str:
    """Of the receipt of a withdrawal: what was withdrawn, by whom and why, what stands instead, and how it is built after all."""
    facts = receipt["withdrawal"]
    stands = f"publish {facts['restores']} stands again" if facts["restores"] else "nothing stands in its place"
    return (
        f"{receipt['table']} {receipt['day']} was withdrawn by {facts['by']} on {facts['at'][:10]} ({facts['because']}); {stands}. "
        f"To build it after all: sluice run {receipt['table']} --day {receipt['day']} --force"
    )


def how_to_publish(contract: Contract, day: date) -> str:
    """The command that would publish the day."""
    return f"sluice ingest SOURCE --days {day}..{day}" if contract.is_raw else f"sluice run {contract.name} --day {day}"


def receipt_path(root: str, day: date | str, count: int) -> str:
    return f"{root}/{RECEIPTS}/{day}.{count}.json"


def write_receipt(root: str, receipt: dict[str, Any]) -> None:
    """The durable copy of a receipt beside the table: the log forgets, it does not."""
    write_json(receipt_path(root, receipt["day"], receipt["publish"]), receipt)


def announce(root: str, receipt: dict[str, Any]) -> None:
    """Say that a day without rows may soon be published: no file tells of it until the copy of its receipt is there."""
    write_json(receipt_path(root, receipt["day"], 0), {key: receipt[key] for key in ("table", "day", "run_id")})


def _commits(root: str) -> Iterator[tuple[int, str]]:
    """Versions and the metadata of their commits, newest first, from the log itself.

    The engine's history counts down from the version of its handle, which is wrong as soon as another run has published.
    """
    fs, path = filesystem(f"{root}/_delta_log")
    logs = [info for info in fs.get_file_info(pafs.FileSelector(path)) if re.fullmatch(r"\d{20}\.json", info.base_name)]
    for info in sorted(logs, key=lambda i: i.base_name, reverse=True):
        with fs.open_input_stream(info.path) as stream:
            actions = map(json.loads, stream.read().splitlines())
            yield from ((int(info.base_name[:20]), a["commitInfo"].get("userMetadata") or "{}") for a in actions if "commitInfo" in a)


def write_json(address: str, document: dict[str, Any]) -> None:
    """Write one JSON file so that a reader sees all of it or nothing."""
    write_whole(*filesystem(address), json.dumps(document, indent=1).encode())


def check_lake(lake: str | os.PathLike[str], must_exist: bool) -> None:
    """Raises ContractError when a lake is absent (and must be there), cannot be reached or written, or has a name that engines misread."""
    address = lake_address(lake)
    if misread := re.search(MISREAD, address):
        raise ContractError(
            f"cannot use a lake at {address}: an engine reads {misread.group()} in a path as something else; choose another with --lake"
        )
    if not is_local(address):
        _check_store(address, must_exist)
    elif not os.path.isdir(address):
        if must_exist:
            raise ContractError(_no_lake(address))
        parent = next(p for p in _parents(address) if os.path.exists(p))
        if not (os.path.isdir(parent) and os.access(parent, os.W_OK | os.X_OK)):
            raise ContractError(
                f"cannot make a lake at {address}: {parent} is not a folder that may be written; choose another with --lake"
            )
    elif not os.access(address, os.W_OK | os.X_OK):
        raise ContractError(f"the lake at {address} may not be written; change its permissions, or choose another with --lake")


def _no_lake(address: str) -> str:
    return f"no lake at {address}; name it with --lake or SLUICE_LAKE, or fill one: sluice ingest simulator --lake {address}"


def _check_store(address: str, must_exist: bool) -> None:
    """Raises ContractError when the bucket of an object store cannot be listed, or holds nothing of a lake that must be there."""
    try:
        fs, path = filesystem(address)
        bucket, found = fs.get_file_info([path.partition("/")[0], path])
        if bucket.type == pafs.FileType.NotFound:
            raise FileNotFoundError(f"there is no bucket {bucket.path}")
    except OSError as error:
        server = os.environ.get("AWS_ENDPOINT_URL") or "Amazon's, as AWS_ENDPOINT_URL is not set"
        raise ContractError(
            f"cannot reach the lake at {address} (server {server}): {str(error).splitlines()[0]}. Look at the bucket's name, at "
            "AWS_ENDPOINT_URL and AWS_REGION, and at the keys in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        ) from error
    if must_exist and found.type == pafs.FileType.NotFound:
        raise ContractError(_no_lake(address))


def _parents(path: str) -> list[str]:
    found = [path]
    while found[-1] != os.path.dirname(found[-1]):
        found.append(os.path.dirname(found[-1]))
    return found
