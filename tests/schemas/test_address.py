"""One address of a lake, as each library has it."""

import os
from pathlib import Path

import pytest

from schemas.address import delta_options, files_in, filesystem, is_local, lake_address, read_whole, spark_address, write_whole


@pytest.mark.parametrize(
    ("given", "address", "for_spark"),
    [
        ("/data/lake/", "/data/lake", "file:///data/lake"),
        ("lake", os.path.abspath("lake"), f"file://{os.path.abspath('lake')}"),
        (Path("/data/lake"), "/data/lake", "file:///data/lake"),
        ("s3://bucket/a/lake/", "s3://bucket/a/lake", "s3a://bucket/a/lake"),
        ("s3a://bucket/lake", "s3://bucket/lake", "s3a://bucket/lake"),
        ("s3n://bucket/lake", "s3://bucket/lake", "s3a://bucket/lake"),
        ("gs://bucket/lake", "gs://bucket/lake", "gs://bucket/lake"),
    ],
)
def test_a_lake_has_one_address_and_spark_its_own_spelling(given, address, for_spark):
    assert (lake_address(given), spark_address(lake_address(given))) == (address, for_spark)
    assert is_local(address) == for_spark.startswith("file:")


def test_a_server_without_tls_is_allowed_only_where_the_environment_names_it(monkeypatch):
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    assert delta_options("/data/lake") is None
    assert delta_options("s3://bucket/lake") == {"conditional_put": "etag"}
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9000")
    assert delta_options("s3://bucket/lake") == {"conditional_put": "etag", "allow_http": "true"}
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://store.example")
    assert delta_options("s3://bucket/lake") == {"conditional_put": "etag"}
    assert delta_options("/data/lake") is None


def test_a_folder_given_as_an_address_is_that_folder(tmp_path):
    fs, path = filesystem(f"file://{tmp_path}")
    assert (fs.type_name, path) == ("local", str(tmp_path))


def test_files_of_a_folder_are_named_and_read(tmp_path):
    (tmp_path / "folder").mkdir()
    for name in ("b", "a"):
        (tmp_path / name).write_text(name * 3)
    assert (files_in(str(tmp_path)), files_in(str(tmp_path / "absent"))) == (["a", "b"], [])
    assert read_whole(str(tmp_path / "b")) == b"bbb"
    with pytest.raises(FileNotFoundError):
        read_whole(str(tmp_path / "c"))


def test_a_reader_sees_a_file_whole_or_not_at_all(tmp_path):
    path = str(tmp_path / "new" / "facts.json")
    fs, _ = filesystem(path)
    write_whole(fs, path, b"one")
    write_whole(fs, path, b"two")
    assert (Path(path).read_bytes(), os.listdir(tmp_path / "new")) == (b"two", ["facts.json"])
    os.chmod(path, 0o400)
    before = os.stat(path).st_ino
    write_whole(fs, path, b"three")
    assert (Path(path).read_bytes(), os.stat(path).st_ino == before) == (b"three", False), "put in its place, never written over"
