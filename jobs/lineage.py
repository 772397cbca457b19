"""What a run of one table-day is in OpenLineage's words: events of the run, and of its gate, made of contract and receipt.

Imports the official client, which takes half a second: only `jobs.emit` imports this module, in a thread of its own.
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from openlineage.client import event_v2 as ol
from openlineage.client import facet_v2 as facets
from openlineage.client.uuid import generate_static_uuid

from jobs.run import engine_versions
from jobs.storage import receipt_path, table_root
from schemas.contract import Contract, load
from schemas.derive import Field, parse_type

ENGINES = engine_versions()
PRODUCER = f"urn:sluice:{ENGINES['sluice-data'].replace(' ', '-')}"
PARTS = {"element": "_element"}
"""How OpenLineage names the parts of nested types; others keep their names."""
FACTS = ("reasons", "content_hash", "label_as_of", "accounts", "quarantined", "accepted", "withdrawal")
"""What a receipt says of a run and no facet of the specification does."""
SEVERITY = {"critical": "error", "warning": "warn"}

ol.set_producer(PRODUCER)


@dataclass(frozen=True)
class Told:
    """One state of a run: START, or COMPLETE, FAIL, ABORT with what became of it."""

    state: str
    at: datetime
    lake: str
    contract: Contract
    day: str
    job: str
    run_id: str
    started: datetime
    draft: Mapping[str, Any]
    receipt: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""
    results: Sequence[Mapping[str, Any]] = ()
    """Of the gate; those of the receipt where there is one."""


def events(told: Told) -> list[ol.RunEvent]:
    """Events of one state of a run; with the last one come those of its gate, if it was asked."""
    job, start = f"{told.job}.gate", told.at - timedelta(seconds=told.receipt.get("gate_s", 0))
    found = [_event(told, told.state, told.at, told.job, _inputs(told), [_output(told)])]
    if told.results:
        found += [
            _event(told, "START", start, job, [_audited(told, [])], []),
            _event(told, told.state, told.at, job, [_audited(told, told.results)], []),
        ]
    return found


def _event(told: Told, state: str, at: datetime, job: str, inputs: list[ol.InputDataset], outputs: list[ol.OutputDataset]) -> ol.RunEvent:
    space = os.environ.get("OPENLINEAGE_NAMESPACE", "sluice")
    of_gate = job != told.job
    parent = _parent(space, told.job, _uuid(told, told.job)) if of_gate else _parent_outside()
    run = ol.Run(str(_uuid(told, job)), _run_facets(told, state, parent))
    kind = facets.job_type_job.JobTypeJobFacet("BATCH", "SLUICE", "GATE" if of_gate else "TABLE_DAY")
    doc = f"The gate of {told.contract.name}." if of_gate else told.contract.doc
    about = {"jobType": kind, "documentation": facets.documentation_job.DocumentationJobFacet(doc)}
    about["ownership"] = facets.ownership_job.OwnershipJobFacet([facets.ownership_job.Owner(told.contract.owner)])
    return ol.RunEvent(
        eventType=ol.RunState[state], eventTime=_text(at), run=run, job=ol.Job(space, job, about), inputs=inputs, outputs=outputs
    )


def _uuid(told: Told, job: str) -> Any:
    return generate_static_uuid(told.started, f"{job} {told.run_id}".encode())


def _text(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _parent(space: str, job: str, run: Any) -> facets.parent_run.ParentRunFacet:
    return facets.parent_run.ParentRunFacet(run=facets.parent_run.Run(str(run)), job=facets.parent_run.Job(space, job))


def _parent_outside() -> facets.parent_run.ParentRunFacet | None:
    """Who started the process, by the environment variable that integrations agree on: namespace/job/run id."""
    match = re.fullmatch(r"(.+)/([^/]+)/([0-9a-fA-F-]{36})", os.environ.get("OPENLINEAGE_PARENT_ID", ""))
    return _parent(*match.groups()) if match else None


def _run_facets(told: Told, state: str, parent: Any) -> dict[str, Any]:
    first = datetime.fromisoformat(f"{told.day}T00:00:00+00:00")
    found: dict[str, Any] = {"nominalTime": facets.nominal_time_run.NominalTimeRunFacet(_text(first), _text(first + timedelta(days=1)))}
    found["processing_engine"] = facets.processing_engine_run.ProcessingEngineRunFacet(ENGINES["pyspark"], "spark", ENGINES["sluice-data"])
    if parent:
        found["parent"] = parent
    if told.error and state == told.state:
        found["errorMessage"] = facets.error_message_run.ErrorMessageRunFacet(told.error, "PYTHON")
    known = told.draft | told.receipt
    own = {"table": told.contract.name, "day": told.day, "run_id": told.run_id} | {name: known[name] for name in FACTS if known.get(name)}
    if "publish" in told.receipt:
        own["receipt"] = receipt_path(table_root(told.lake, told.contract), told.day, told.receipt["publish"])
    return found | {"sluice_tableDay": facets.RunFacet().with_additional_properties(**own)}


def _name(lake: str, contract: Contract) -> tuple[str, str]:
    return _place(table_root(lake, contract))


def _place(address: str) -> tuple[str, str]:
    """Namespace and name of what lies there: of files the path, of an object store the bucket and the key."""
    scheme, mark, rest = address.partition("://")
    bucket, _, key = rest.partition("/")
    return (f"{scheme}://{bucket}", key) if mark else ("file", scheme)


def _dataset_facets(told: Told, contract: Contract, at: int | None) -> dict[str, Any]:
    alias = facets.symlinks_dataset.Identifier(f"sluice:{told.lake}", contract.name, "TABLE")
    found: dict[str, Any] = {"symlinks": facets.symlinks_dataset.SymlinksDatasetFacet([alias])}
    found["storage"] = facets.storage_dataset.StorageDatasetFacet("delta", "parquet")
    if at is not None:
        found["version"] = facets.dataset_version_dataset.DatasetVersionDatasetFacet(str(at))
    return found


def _days(of: Sequence[str]) -> Any:
    subset = facets.base_subset_dataset
    return subset.PartitionSubsetCondition([subset.Partition({"day": day}) for day in of])


def _inputs(told: Told) -> list[ol.InputDataset]:
    """Each table that was read at its version, the days of it, how much they hold; of a raw table what its source read."""
    found = []
    for name, read in told.draft.get("inputs", {}).items():
        contract = load(name)
        given = {"subset": facets.base_subset_dataset.InputSubsetInputDatasetFacet(_days(sorted(read["days"])))}
        given["inputStatistics"] = facets.input_statistics_input_dataset.InputStatisticsInputDatasetFacet(
            read.get("rows"), read.get("bytes")
        )
        found.append(ol.InputDataset(*_name(told.lake, contract), given, facets=_dataset_facets(told, contract, read["version"])))
    if told.contract.is_raw and "source" in told.draft:
        lines = sum(account["in"] for account in told.draft["accounts"])
        statistics = facets.input_statistics_input_dataset.InputStatisticsInputDatasetFacet(rowCount=lines)
        place = _place(told.draft["source"]) if told.draft["source"] else ("sluice", f"source {told.draft['options']['source']}")
        found.append(ol.InputDataset(*place, {"inputStatistics": statistics}))
    return found


def _output(told: Told) -> ol.OutputDataset:
    contract, receipt = told.contract, told.receipt
    about = _dataset_facets(told, contract, receipt.get("version"))
    given: dict[str, Any] = {"subset": facets.base_subset_dataset.OutputSubsetOutputDatasetFacet(_days([told.day]))}
    if told.state == "START":  # all that is known then is said again at the end
        return ol.OutputDataset(*_name(told.lake, contract), given, facets=about)
    about["schema"] = facets.schema_dataset.SchemaDatasetFacet([_field(c.name, parse_type(c.type), c.doc) for c in contract.columns])
    about["documentation"] = facets.documentation_dataset.DocumentationDatasetFacet(contract.doc)
    about["ownership"] = facets.ownership_dataset.OwnershipDatasetFacet([facets.ownership_dataset.Owner(contract.owner)])
    tag = facets.tags_dataset.TagsDatasetFacetFields
    if personal := [tag("personal", "true", "CONTRACT", c.name) for c in contract.columns if c.personal]:
        about["tags"] = facets.tags_dataset.TagsDatasetFacet(personal)
    if lineage := _column_lineage(told):
        about["columnLineage"] = facets.column_lineage_dataset.ColumnLineageDatasetFacet(lineage)
    if "rows" in receipt:
        given["outputStatistics"] = facets.output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
            receipt["rows"], receipt["bytes"]
        )
    return ol.OutputDataset(*_name(told.lake, contract), given, facets=about)


def _field(name: str, kind: Any, doc: str | None = None) -> facets.schema_dataset.SchemaDatasetFacetFields:
    def part(of: Field) -> Any:
        return _field(PARTS.get(of.name, of.name), of.type)

    return facets.schema_dataset.SchemaDatasetFacetFields(name, kind.kind, doc, fields=[part(p) for p in kind.parts])


def _column_lineage(told: Told) -> dict[str, Any]:
    """Columns whose values all occur in a column of an input, as the contract promises; of others it says nothing."""
    of, found = facets.column_lineage_dataset, {}
    for column in (c for c in told.contract.columns if c.references):
        table, _, name = column.references.partition(".")
        how = of.Transformation(
            "DIRECT", description=f"every value occurs in {column.references}: the contract says so, the gate checks it"
        )
        found[column.name] = of.Fields([of.InputField(*_name(told.lake, load(table)), name, [how])])
    return found


def _audited(told: Told, results: Sequence[Mapping[str, Any]]) -> ol.InputDataset:
    """The staged day as its gate read it: what was asked of it, and what was seen."""
    about, given = _dataset_facets(told, told.contract, told.receipt.get("version")), {}
    given["subset"] = facets.base_subset_dataset.InputSubsetInputDatasetFacet(_days([told.day]))
    if results:
        given["dataQualityAssertions"] = facets.data_quality_assertions_dataset.DataQualityAssertionsDatasetFacet(
            [_assertion(r) for r in results]
        )
        nulls = {r["expectation_config"]["kwargs"]["column"]: r["result"] for r in results if _counts_nulls(r)}
        of = facets.data_quality_metrics_input_dataset
        columns = {
            name: of.ColumnMetrics(nullCount=r["unexpected_count"], count=r["element_count"] - r["unexpected_count"])
            for name, r in nulls.items()
        }
        given["dataQualityMetrics"] = of.DataQualityMetricsInputDatasetFacet(columns, told.receipt.get("rows"), told.receipt.get("bytes"))
    return ol.InputDataset(*_name(told.lake, told.contract), given, facets=about)


def _counts_nulls(result: Mapping[str, Any]) -> bool:
    config = result["expectation_config"]
    return (
        config["type"] == "expect_column_values_to_not_be_null" and not config["meta"].get("over") and "element_count" in result["result"]
    )


def _assertion(result: Mapping[str, Any]) -> Any:
    """A result as an assertion; values of rows are left out, as in the receipt."""
    config, seen = result["expectation_config"], result["result"]
    kwargs, over = config["kwargs"], config["meta"].get("over")
    column = kwargs.get("column")
    actual = seen.get("observed_value", seen.get("unexpected_count"))
    return facets.data_quality_assertions_dataset.Assertion(
        assertion=config["type"],
        success=bool(result["success"]),
        column=f"{over}.{column}" if over and column else column,
        severity=SEVERITY[config["meta"].get("severity", "critical")],
        name=result["name"],
        description=config["meta"].get("note"),
        expected=json.dumps({k: v for k, v in kwargs.items() if k != "column"}, default=str),
        actual=None if actual is None else str(actual),
    )
