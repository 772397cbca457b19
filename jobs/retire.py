"""Old versions of a contract: which a lake still holds beside the one in use, and taking one away once nobody needs it."""

import json
from dataclasses import replace
from typing import Any

import pyarrow.fs as pafs

from jobs.messages import UsageError
from jobs.storage import Table, filesystem, lake_address, open_table, table_root, versions
from schemas.contract import Contract, ContractError, quarantine_of

MANIFESTS = "_manifests"


def at_version(lake: str, contract: Contract, version: int) -> Table:
    """The table as another version of its contract left it: days, receipts and files, whatever its columns are."""
    return open_table(lake_address(lake), replace(contract, version=version))


def retire(lake: str, contract: Contract, version: int, *, lose_days: bool = False, dry_run: bool = False) -> list[dict[str, Any]]:
    """Remove a version and its quarantine; one fact for each folder removed, or to be removed.

    Raises UsageError for a version that is in use or not there, ContractError when the version in use lacks days of it (unless
    `lose_days`), or when manifests name its files.
    """
    if version >= contract.version or version not in versions(lake, contract):
        held = ", ".join(str(v) for v in versions(lake, contract) if v < contract.version) or "none"
        raise UsageError(
            f"{contract.name} has no old version {version} in {lake_address(lake)}: in use is {contract.version}, older ones there: {held}"
        )
    old, now = at_version(lake, contract, version), open_table(lake_address(lake), contract)
    lacking = [d for d in old.days if not now.publishes(d)]
    if lacking and not lose_days:
        raise ContractError(
            f"{contract.name}: version {contract.version} lacks {len(lacking)} days that version {version} holds: "
            f"sluice backfill {contract.name} --days {lacking[0]}..{lacking[-1]}; or give them up: --lose-days"
        )
    if named := _manifests_of(lake, contract, version):
        raise ContractError(
            f"{contract.name} version {version} is named by manifests: {', '.join(named)}. Make them anew on version {contract.version}, "
            f"or end them: sluice manifest delete {named[0]}"
        )
    return [fact for each in (contract, quarantine_of(contract)) for fact in _remove(lake, replace(each, version=version), dry_run)]


def _manifests_of(lake: str, contract: Contract, version: int) -> list[str]:
    fs, path = filesystem(f"{lake_address(lake)}/{MANIFESTS}")
    named = []
    for info in fs.get_file_info(pafs.FileSelector(path, allow_not_found=True)):
        if info.base_name.endswith(".json"):
            with fs.open_input_stream(info.path) as stream:
                facts = json.loads(stream.read())
            if (facts["table"], facts["contract_version"]) == (contract.name, version):
                named.append(info.base_name.removesuffix(".json"))
    return sorted(named)


def _remove(lake: str, contract: Contract, dry_run: bool) -> list[dict[str, Any]]:
    root = table_root(lake, contract)
    fs, path = filesystem(root)
    files = [i for i in fs.get_file_info(pafs.FileSelector(path, recursive=True, allow_not_found=True)) if i.is_file]
    if not files:
        return []
    if not dry_run:
        fs.delete_dir(path)
    return [{"path": root, "files": len(files), "bytes": sum(i.size for i in files)}]
