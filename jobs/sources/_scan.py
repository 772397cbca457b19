"""Files in Spark tasks: each file (or row group) is one task, read as a stream, with the number of each line.

Spark's own text readers give neither line numbers nor the text of a record that they could not read.
"""

import os
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, BinaryIO, TypeVar

from jobs.storage import filesystem

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession

Piece = TypeVar("Piece")
BATCH_ROWS = 4096


def open_lines(address: str) -> BinaryIO:
    """The file as a stream of lines; unpacked where its name ends in .gz, .bz2, .zst, or in .zip, which holds one file.

    Raises: OSError for a .zip that cannot be opened; what is torn further on raises zipfile.BadZipFile or zlib.error when it is read.
    """
    import io

    system, path = filesystem(address)
    if path.endswith(".zip"):
        return _only_member(system.open_input_file(path))
    return io.BufferedReader(system.open_input_stream(path, compression="detect"), 1 << 20)


def _only_member(packed: BinaryIO) -> BinaryIO:
    try:
        archive = zipfile.ZipFile(packed)
        names = [n for n in archive.namelist() if not n.endswith("/") and not n.startswith("__MACOSX/")]
        if len(names) != 1:
            raise OSError(f"it holds {len(names)} files ({', '.join(names[:5])}), must hold one; unpack it")
        return archive.open(names[0])
    except (zipfile.BadZipFile, RuntimeError) as error:  # RuntimeError: packed with a password, or by an unknown method
        raise OSError(f"no whole zip file ({error}); fetch it again or unpack it") from error


def over_pieces(
    spark: "SparkSession", pieces: Sequence[Piece], batches: Callable[[Piece], Iterator["pa.RecordBatch"]], schema: "pa.Schema"
) -> "DataFrame":
    """The rows that `batches` gives for each piece, one task a piece. Lazy: nothing is read before the frame is used."""
    from pyspark.sql.pandas.types import from_arrow_schema

    work = list(pieces)

    def run(tasks: Iterator["pa.RecordBatch"]) -> Iterator["pa.RecordBatch"]:
        for task in tasks:
            for number in task.column(0).to_pylist():
                yield from batches(work[number])

    numbers = spark.range(0, len(work), 1, max(1, len(work)))
    return numbers.mapInArrow(run, from_arrow_schema(schema))


def count_each(spark: "SparkSession", pieces: Sequence[Piece], count: Callable[[Piece], int]) -> list[tuple[int, str | None]]:
    """What `count` gives for each piece, in their order, or what is wrong with it: one pass over all, before anything else."""
    import pyarrow as pa

    schema = pa.schema([("number", pa.int64()), ("found", pa.int64()), ("fault", pa.string())])

    def batches(numbered: tuple[int, Piece]) -> Iterator["pa.RecordBatch"]:
        found, fault = 0, None
        try:
            found = count(numbered[1])
        except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
            fault = str(error).splitlines()[0] if str(error) else type(error).__name__
        yield pa.RecordBatch.from_pylist([{"number": numbered[0], "found": found, "fault": fault}], schema=schema)

    told = over_pieces(spark, list(enumerate(pieces)), batches, schema).collect()  # a row for each file
    return [(row["found"], row["fault"]) for row in sorted(told)]


def files_below(address: str) -> list[str]:
    """Paths, relative to the folder, of all files in it and its folders, sorted; hidden ones and those that begin with `_` left out."""
    from pyarrow import fs as pafs

    system, root = filesystem(address)
    found = system.get_file_info(pafs.FileSelector(root, recursive=True, allow_not_found=True))
    names = sorted(os.path.relpath(f.path, root) for f in found if f.is_file)
    return [name for name in names if not any(part.startswith((".", "_")) for part in name.split("/"))]


def in_batches(rows: Iterator[dict[str, object]], schema: "pa.Schema") -> Iterator["pa.RecordBatch"]:
    """The rows, some thousand at a time."""
    import pyarrow as pa

    while held := list(islice(rows, BATCH_ROWS)):
        columns = ([row[field.name] for row in held] for field in schema)  # 5 x 80,000 texts: 0.03 s, 1.7 s by from_pylist
        yield pa.RecordBatch.from_arrays(
            [pa.array(values, field.type) for values, field in zip(columns, schema, strict=True)], schema=schema
        )
