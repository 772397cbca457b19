"""Where a lake lies: one address, `/data/lake` or `s3://bucket/lake`, as each library that opens it has it. pyarrow when asked for.

Server, region and keys of S3 come from the environment, where all of them look: AWS_ENDPOINT_URL (for another server than Amazon's),
AWS_REGION, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY. No key passes through Sluice, so none gets into a log, a receipt or a setting.
"""

import os
import re
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem


def lake_address(lake: str | os.PathLike[str]) -> str:
    """The lake as an absolute path or an address such as s3://bucket/lake, without a closing slash."""
    text = os.fspath(lake)
    return re.sub("^s3[an]://", "s3://", text).rstrip("/") if re.match(r"[a-z0-9]+://", text) else os.path.abspath(text)


def is_local(address: str) -> bool:
    return "://" not in address


def filesystem(address: str) -> tuple["FileSystem", str]:
    """pyarrow's file system for an address, and the path in it."""
    if is_local(address):
        from pyarrow.fs import LocalFileSystem

        return LocalFileSystem(), address
    if address.startswith("s3://"):
        path = address.removeprefix("s3://")
        return _store(path.split("/")[0], os.environ.get("AWS_ENDPOINT_URL")), path
    return _from_uri(address)


@cache
def _store(bucket: str, _server: str | None) -> "FileSystem":
    """Opened once: that asks for the bucket's region."""
    return _from_uri(f"s3://{bucket}")[0]


def _from_uri(address: str) -> tuple["FileSystem", str]:
    from pyarrow.fs import FileSystem

    return FileSystem.from_uri(address)


def files_in(folder: str) -> list[str]:
    """Names of the files in a folder; none where it is absent."""
    from pyarrow.fs import FileSelector

    fs, path = filesystem(folder)
    return sorted(info.base_name for info in fs.get_file_info(FileSelector(path, allow_not_found=True)) if info.is_file)


def read_whole(address: str) -> bytes:
    """What a file holds. Raises FileNotFoundError when it is absent."""
    fs, path = filesystem(address)
    with fs.open_input_stream(path) as stream:
        return bytes(stream.read())


def write_whole(fs: "FileSystem", path: str, content: bytes) -> None:
    """Write a file so that a reader sees all of it or nothing."""
    scratch = path  # an object appears when it is whole
    if fs.type_name == "local":
        scratch = f"{path}.{os.getpid()}.tmp"
        fs.create_dir(os.path.dirname(path), recursive=True)
    with fs.open_output_stream(scratch) as stream:
        stream.write(content)
    if scratch != path:
        fs.move(scratch, path)


def spark_address(address: str) -> str:
    """The same address as Spark's Hadoop file systems spell it."""
    return f"file://{address}" if is_local(address) else re.sub("^s3://", "s3a://", address)


def delta_options(address: str) -> dict[str, str] | None:
    """What delta-rs has to be told of a store: to commit by a put that fails where a file is, and that a server without TLS is meant."""
    if not address.startswith("s3://"):
        return None
    has_tls = not os.environ.get("AWS_ENDPOINT_URL", "https:").startswith("http:")
    return {"conditional_put": "etag"} | ({} if has_tls else {"allow_http": "true"})
