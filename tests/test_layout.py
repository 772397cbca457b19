"""The shape of the repository: which files a stem has, what a contract and a job look like, how long things may be.

A failure is a checklist: it names every file that is missing, not just the first.
"""

import ast
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from schemas.contract import Contract, load, load_all, table_names
from schemas.derive import Field, parse_type

ROOT = Path(__file__).parents[1]
PACKAGES = ("schemas", "expectations", "features", "jobs", "jobs/sources", "training", "sluice", "sluice/report", "dags")
FOLDERS = (*PACKAGES, "tests", "docker", "requirements")
SUFFIXES = {"timestamp": r".+_at", "date": r"day|.+_day", "boolean": r"(is|has)_.+"}
MAX_LINES = {"job": 80, "dag": 30, "topic": 300, "model": 350, "shared": 200}
MAX_FUNCTION = 60


def modules(folder: str) -> list[Path]:
    return sorted(path for path in (ROOT / folder).glob("*.py") if path.stem != "__init__")


def tracked() -> list[Path]:
    """Files of the repository, those to be committed included."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / line for line in listed.stdout.splitlines() if (ROOT / line).is_file()]


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def functions(path: Path) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef)]


def imported(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}", *(f"{node.module}.{name.name}" for name in node.names)}
    return found


def code_lines(node: ast.AST, text: str) -> int:
    """Lines that hold code: neither blank, nor a comment, nor a docstring."""
    words: set[int] = set()
    for inner in ast.walk(node):
        for child in getattr(inner, "body", []) if isinstance(getattr(inner, "body", []), list) else []:
            if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant) and isinstance(child.value.value, str):
                words |= set(range(child.lineno, child.end_lineno + 1))
    lines = text.splitlines()
    span = range(getattr(node, "lineno", 1), getattr(node, "end_lineno", len(lines)) + 1)
    return sum(1 for n in span if n not in words and lines[n - 1].strip() and not lines[n - 1].strip().startswith("#"))


def missing_of_table(contract: Contract) -> list[str]:
    wanted = ["expectations/{}.py", "tests/expectations/test_{}.py"]
    wanted += [] if contract.is_raw else ["jobs/{}.py", "tests/jobs/test_{}.py"]
    return [path.format(contract.name) for path in wanted if not (ROOT / path.format(contract.name)).exists()]


def test_every_table_has_its_files():
    contracts = load_all()
    assert len(contracts) >= 7
    missing = [f"table {c.name} lacks {path}" for c in contracts for path in missing_of_table(c)]
    assert not missing, "\n".join(missing)


def test_only_derived_tables_have_a_job():
    derived = {c.name for c in load_all() if not c.is_raw}
    jobs = {path.stem for path in modules("jobs") if "build" in {f.name for f in functions(path)}}
    assert jobs and jobs <= derived, f"these jobs build no derived table of schemas/: {', '.join(jobs - derived)}"


def test_every_module_with_a_function_is_tested():
    """By tests/<folder>/test_<module>.py, or by another test of the folder that imports it, or (of `sluice`) the command line.

    What begins with _ is tested by what it is a part of.
    """
    tables = {path for path in modules("schemas") if path.stem in table_names()}
    public = [path for folder in PACKAGES for path in modules(folder) if path not in tables and not path.stem.startswith("_")]
    needed = [path for path in public if functions(path)]
    assert len(needed) >= 10
    missing = []
    for path in needed:
        folder = ROOT / "tests" / path.parent.relative_to(ROOT)
        names = {str(path.relative_to(ROOT).with_suffix("")).replace("/", ".")} | ({"sluice.main"} if folder.name == "sluice" else set())
        if not (folder / f"test_{path.stem}.py").exists() and not any(names & imported(test) for test in folder.glob("test_*.py")):
            missing.append(f"{path.relative_to(ROOT)} lacks {folder.relative_to(ROOT)}/test_{path.stem}.py")
    assert not missing, "\n".join(missing)


def test_every_folder_says_what_goes_there():
    missing = [folder for folder in FOLDERS if not (ROOT / folder / "README.md").exists()]
    assert not missing, f"these folders lack a README.md: {', '.join(missing)}"


def test_no_job_is_named_like_an_importable_module():
    """A submitted script's folder comes first on the path: jobs/queue.py would break whatever imports queue."""
    assert modules("jobs")
    taken = [path.name for path in modules("jobs") if path.stem in sys.stdlib_module_names or importlib.util.find_spec(path.stem)]
    assert not taken, f"rename jobs/{', jobs/'.join(taken)}: a module of this name can be imported"


def test_every_job_has_the_same_parts():
    for name in (c.name for c in load_all() if not c.is_raw and (ROOT / f"jobs/{c.name}.py").exists()):
        path = ROOT / f"jobs/{name}.py"
        source = path.read_text()
        found = {f.name for f in functions(path)}
        assert ast.get_docstring(tree(path)), f"jobs/{name}.py lacks a docstring: what a row is, what is left out, what it costs"
        assert "build" in found, f"jobs/{name}.py lacks build(inputs, day)"
        assert "run(CONTRACT, build, **vars(arg_parser(" in source.split('if __name__ == "__main__":')[-1], f"jobs/{name}.py: last line"
        others = {f"jobs.{table}" for table in table_names()} & imported(path)
        assert not others, f"jobs/{name}.py imports {', '.join(others)}: tables are the interface between jobs"
        writes = re.findall(r"\.(collect|toPandas|toLocalIterator|write|show|cache|persist)\b", source)
        assert not writes, f"jobs/{name}.py: build is pure, it does not call {', '.join(writes)}"


def test_only_the_gate_publishes():
    def callers(function: str) -> set[str]:
        return {path.stem for path in modules("jobs") if function in imported(path)}

    assert callers("jobs.commit.publish") == {"gate", "withdraw"}  # what a withdrawal brings back has passed its gate
    assert callers("jobs.commit.append") == {"quarantine"}
    assert callers("jobs.quarantine.publish_quarantine") == {"gate"}


@pytest.mark.parametrize("table", table_names())
def test_contract_is_well_formed(table):
    contract = load(table)
    names = [c.name for c in contract.columns]
    assert contract.name == table
    assert (names[0], contract.columns[0].type) == ("day", "date"), "the first column is the partition"
    assert len(names) == len(set(names))
    assert contract.grain and set(contract.grain) <= {c.name for c in contract.columns if not c.nullable}
    assert contract.version >= 1 and contract.keep_days >= 1 and contract.owner
    for doc in (contract.doc, *(c.doc for c in contract.columns)):
        assert doc.strip() and "\n" not in doc, f"a doc is one line of words: {doc!r}"
    for column in contract.columns:
        check_name(column.name, Field(column.name, parse_type(column.type)))
    for total in contract.totals:
        assert re.fullmatch(r"[a-z][a-z0-9_]*", total.name)
        assert total.by is None or contract.column(total.by).type == "date"
    if contract.elements:
        fields = {f.name for f in parse_type(contract.column(contract.elements.column).type).parts[0].type.parts}
        assert {contract.elements.key, *contract.labels} <= fields


def check_name(where: str, field: Field) -> None:
    """snake_case, and the suffix that says the unit; inside nested types too."""
    form = SUFFIXES.get(field.type.kind, ".*")
    assert re.fullmatch(r"[a-z][a-z0-9_]*", field.name), f"{where}: names are snake_case"
    assert re.fullmatch(form, field.name), f"{where}: the name of a {field.type.kind} matches {form}"
    for part in field.type.parts:
        check_name(f"{where}.{part.name}", part)


@pytest.mark.parametrize("table", table_names())
def test_inputs_of_a_contract_exist_and_can_be_conserved(table):
    contract = load(table)
    assert len({i.table for i in contract.inputs}) == len(contract.inputs)
    for given in contract.inputs:
        source = load(given.table)
        assert given.window[0] < given.window[1], f"window of {given.table} is half-open: {given.window}"
        for account in given.accounts:
            totals = {total.name: total for total in source.totals}
            assert account.total == "rows" or account.total in totals, f"{source.name} has no total {account.total}"
            assert account.keyed_by_day == bool(account.total in totals and totals[account.total].by)
            assert len(set(account.fates)) == len(account.fates) > 0
            first, last = account.window or given.window
            assert given.window[0] <= first < last <= given.window[1]
    for column in (c for c in contract.columns if c.references):
        other, _, name = column.references.partition(".")
        assert load(other).column(name).type == column.type
    assert all(0 < age <= contract.matures_after for age in contract.reissue_after)
    assert sorted(contract.reissue_after) == list(contract.reissue_after)


def kind_of(path: Path) -> str:
    folder = path.parent.name
    if folder == "jobs":
        return "job" if path.stem in table_names() else "shared"
    if folder == "dags":
        return "shared" if path.stem == "common" else "dag"
    return {"training": "model", "features": "topic", "sources": "topic", "expectations": "topic"}.get(folder, "shared")


def test_files_and_functions_are_short():
    long = []
    for path in (p for folder in PACKAGES for p in modules(folder)):
        text, limit = path.read_text(encoding="utf-8"), MAX_LINES[kind_of(path)]
        if (lines := code_lines(tree(path), text)) > limit:
            long.append(f"{path.relative_to(ROOT)}: {lines} lines of code, at most {limit}")
        for function in functions(path):
            if (lines := code_lines(function, text)) > MAX_FUNCTION:
                long.append(f"{path.relative_to(ROOT)}: {function.name} has {lines} lines, at most {MAX_FUNCTION}")
    assert not long, "split by subject:\n" + "\n".join(long)


def test_the_repository_speaks_of_itself_alone():
    """No address of a package index, no path of the machine on which a line was written."""
    hosts = r"(pypi|pythonhosted|maven|sonatype)[.]org|repo1[.]maven|/(simple|maven2)/|index[-]url|find[-]links"
    paths = r"(^|[^\w.])/(root|work|home/\w+|tmp/w)/"
    found = []
    for path in (p for p in tracked() if p.suffix not in (".png", ".jpg", ".gz", ".parquet", ".js") and p.name != "LICENSE"):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if re.search(hosts, line) or re.search(paths, line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:120]}")
    assert not found, "\n".join(found)
