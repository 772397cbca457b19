"""Java, and the jars that Spark lacks: Delta's, and those of a lake on S3. Fetched once, after that no start needs the network.

python -m jobs.jars         Delta's: jobs do without, whoever opens a table as `spark.read.format("delta")` does not
python -m jobs.jars --s3    those for s3a://, 10 MB; prints them as spark-submit takes them: --jars "$(python -m jobs.jars --s3)"
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

MIN_JAVA = 17
DELTA_JARS = ("delta-spark_4.1_2.13", "delta-storage", "delta-kernel-api", "delta-kernel-defaults", "delta-kernel-unitycatalog")
HADOOP, AWS_SDK = "3.4.2", "2.29.52"
"""Spark's Hadoop, and the SDK with which its hadoop-aws was made."""
SDK_PARTS = ("s3", "s3-transfer-manager", "sts")  # what hadoop-aws calls: 9 MB; the SDK as one bundle of all services is 642 MB

SAME_AS = {"commons-logging": "jcl-over-slf4j"}  # by the names of jars


class SetupError(RuntimeError):
    """Something outside Sluice is missing or too old; the message says how to install it."""


def java_binary() -> str:
    """The Java that Spark would start. Raises SetupError when there is none."""
    home = os.environ.get("JAVA_HOME")
    if home and not Path(home, "bin", "java").exists():
        raise SetupError(f"JAVA_HOME is {home}, which has no bin/java; set it to the folder of Java {MIN_JAVA} or newer, or unset it")
    found = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    if not found:
        raise SetupError(
            f"no Java {MIN_JAVA} or newer; install it: apt-get install openjdk-17-jre-headless (macOS: brew install openjdk@17)"
        )
    return found


def java_version() -> int:
    """Major version of that Java. Raises SetupError when it does not say one."""
    banner = subprocess.run([java_binary(), "-version"], capture_output=True, text=True).stderr
    match = re.search(r'version "(?:1\.)?(\d+)', banner)
    if not match:
        raise SetupError(f"{java_binary()} does not tell its version: {banner[:200]!r}; set JAVA_HOME to Java {MIN_JAVA} or newer")
    return int(match.group(1))


def check_java() -> None:
    """Raises SetupError when Java is missing or older than Spark needs."""
    if (found := java_version()) < MIN_JAVA:
        raise SetupError(f"Java {found} is too old, Spark needs {MIN_JAVA}; install it: apt-get install openjdk-17-jre-headless")


def jar_folder() -> Path:
    """Where the jars lie: SLUICE_JARS, or a folder of the user's cache named by Delta's version."""
    default = Path.home() / ".cache" / "sluice" / f"jars-{version('delta-spark')}"
    return Path(os.environ.get("SLUICE_JARS") or default)


def jar_paths() -> list[Path]:
    """Delta's jars that are there, in a fixed order; fewer than DELTA_JARS when they were not fetched."""
    release = version("delta-spark")
    return [p for name in DELTA_JARS if (p := jar_folder() / f"{name}-{release}.jar").exists()]


def s3_folder() -> Path:
    return jar_folder() / f"s3-{HADOOP}"


def s3_jar_paths() -> list[Path]:
    """The jars for s3a://, all of them, or none when they were not fetched."""
    return sorted(s3_folder().glob("*.jar"))


def fetch_delta_jars() -> Path:
    """Fetch Delta's jars unless they are there. Returns their folder."""
    folder, release = jar_folder(), version("delta-spark")
    if len(jar_paths()) < len(DELTA_JARS):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            for name in DELTA_JARS:
                fetched = _fetch(scratch, _dependency("io.delta", name, release, "master"), f"{name}-{release}.jar", folder)
                fetched.replace(folder / fetched.name)
    return folder


def fetch_s3_jars() -> Path:
    """Fetch what Spark lacks for s3a://, unless it is there. Returns the folder: it appears when it is whole."""
    folder = s3_folder()
    if not s3_jar_paths():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            wanted = _dependency("org.apache.hadoop", "hadoop-aws", HADOOP, "master")
            wanted += "".join(_dependency("software.amazon.awssdk", part, AWS_SDK, "runtime,master") for part in SDK_PARTS)
            fetched = _fetch(scratch, wanted, f"hadoop-aws-{HADOOP}.jar", folder)
            for jar in fetched.parent.glob("*.jar"):
                name = SAME_AS.get(_name_of(jar), _name_of(jar))
                if list(_spark_jars().glob(f"{name}-[0-9]*.jar")):
                    jar.unlink()  # Spark has it, in the version that it was made with
            if not folder.exists():
                fetched.parent.replace(folder)
    return folder


def _dependency(organisation: str, name: str, release: str, parts: str) -> str:
    return f'<dependency org="{organisation}" name="{name}" rev="{release}" conf="default->{parts}"/>'


def _fetch(scratch: str, dependencies: str, wanted: str, folder: Path) -> Path:
    """Let the Ivy that pyspark brings fetch them to `<scratch>/jars`. Returns the jar `wanted`; raises SetupError if it did not come."""
    asked, fetched = Path(scratch, "ivy.xml"), Path(scratch, "jars", wanted)
    asked.write_text(
        f'<ivy-module version="2.0"><info organisation="sluice" module="jars"/><dependencies>{dependencies}</dependencies></ivy-module>'
    )
    command = [java_binary(), "-jar", str(next(_spark_jars().glob("ivy-*.jar"))), "-cache", f"{scratch}/cache", "-ivy", str(asked)]
    command += ["-types", "jar", "bundle", "-retrieve", f"{scratch}/jars/[artifact]-[revision].[ext]"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode or not fetched.exists():
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-5:])
        raise SetupError(f"could not fetch {wanted} to {folder}; check the network, then run this again:\n{tail}")
    return fetched


def _spark_jars() -> Path:
    import pyspark

    return Path(pyspark.__file__).parent / "jars"


def _name_of(jar: Path) -> str:
    """A jar's name without its version."""
    return re.sub(r"-\d[\w.]*$", "", jar.stem)


def main(arguments: list[str]) -> None:
    """Fetch what is asked for, and say where it is."""
    if arguments == ["--s3"]:
        fetch_s3_jars()
        print(",".join(map(str, s3_jar_paths())))
    elif not arguments:
        print(f"Delta's jars: {fetch_delta_jars()}", file=sys.stderr)
    else:
        sys.exit("usage: python -m jobs.jars [--s3]")


if __name__ == "__main__":
    main(sys.argv[1:])
