"""Events are what OpenLineage's specification says, and say what receipt and contract know.

The client's classes are generated from the specification's JSON schemas, one for each `_schemaURL`; here they are made into JSON
schemas again, in which nothing that they do not name may stand, and the text of each event is held against them.
"""

import enum
import importlib
import json
import pkgutil
import types
import typing
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID

import attr
import jsonschema
import pytest
from openlineage.client import generated
from openlineage.client.event_v2 import RunEvent
from openlineage.client.generated import base
from openlineage.client.serde import Serde

from jobs.lineage import Told, events
from schemas.contract import load
from tests.jobs.published import publish_day
from tests.sluice.report.planted import facts_of, result

FACETS = {base.RunFacet, base.JobFacet, base.DatasetFacet, base.InputDatasetFacet, base.OutputDatasetFacet}
PLACES = {"run": base.RunFacet, "job": base.JobFacet, "facets": base.DatasetFacet}
PLACES |= {"inputFacets": base.InputDatasetFacet, "outputFacets": base.OutputDatasetFacet}
NOW, DAY = datetime(2026, 1, 6, 0, 30, tzinfo=UTC), "2026-01-05"
INPUTS = {"requests": {"version": 3, "days": {DAY: "one", "2026-01-04": "two"}, "rows": 7, "bytes": 70, "history_days": []}}


@cache
def facet_classes() -> dict[str, type]:
    """Every facet of the specification by its schema's address."""
    modules = [importlib.import_module(f"{generated.__name__}.{m.name}") for m in pkgutil.iter_modules(generated.__path__)]
    found = [c for m in modules for c in vars(m).values() if isinstance(c, type) and issubclass(c, base.BaseFacet)]
    assert len(found) > 30
    return {c._get_schema(): c for c in found}


DEFINED: dict[str, Any] = {}


def schema(kind: Any) -> dict[str, Any]:
    """JSON schema of a type of the client: an attrs class, a list, a union, a scalar. Facets are judged by themselves."""
    if attr.has(kind):
        name = f"{kind.__module__}.{kind.__name__}"
        if name not in DEFINED:
            DEFINED[name] = {}  # a field may hold fields
            hints, fields = typing.get_type_hints(kind), attr.fields(kind)
            found = {"type": "object", "properties": {f.name: schema(hints[f.name]) for f in fields}}
            found["required"] = [f.name for f in fields if f.default is attr.NOTHING]
            DEFINED[name] |= found | {"additionalProperties": kind in FACETS}
        return {"$ref": f"#/$defs/{name}"}
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return {"anyOf": [schema(part) for part in parts]}
    if origin is list:
        return {"type": "array", "items": schema(parts[0])}
    if origin is dict:
        return {"type": "object", "additionalProperties": schema(parts[1])}
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return {"enum": [member.value for member in kind]}
    names = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}
    return {} if kind is Any else {"type": names[kind]}


@cache
def validator(kind: type) -> Any:
    return jsonschema.Draft202012Validator(schema(kind) | {"$defs": DEFINED})


def facets_in(node: Any, where: str = "") -> Iterator[tuple[type, Mapping[str, Any]]]:
    """Each facet of an event with the kind of facet that belongs there."""
    for name, value in node.items() if isinstance(node, dict) else ():
        if name in ("facets", "inputFacets", "outputFacets"):
            kind = PLACES[where if name == "facets" and where in PLACES else name]
            yield from ((kind, facet) for facet in value.values())
        elif name in ("inputs", "outputs"):
            for each in value:
                yield from facets_in(each)
        else:
            yield from facets_in(value, name)


def check(text: str) -> dict[str, Any]:
    """Hold the JSON text of an event against the specification. Returns the event."""
    event = json.loads(text)
    validator(RunEvent).validate(event)
    assert event["schemaURL"] == RunEvent._get_schema()
    assert datetime.fromisoformat(event["eventTime"]).tzinfo and UUID(event["run"]["runId"])
    found = list(facets_in(event))
    assert len(found) > 8
    for place, facet in found:
        kind = facet_classes()[facet["_schemaURL"]]
        assert issubclass(kind, place), f"{kind.__name__} is no {place.__name__}"
        validator(kind).validate(facet)
        assert facet["_producer"].startswith("urn:sluice:")
    return event


def told(table: str = "attributions", state: str = "COMPLETE", **more: Any) -> list[dict[str, Any]]:
    """The checked events of a state of a run of a day."""
    draft = {"run_id": "one", "inputs": INPUTS, "reasons": ["missing"], "label_as_of": None, "accounts": []}
    known = {"state": state, "at": NOW, "lake": "/lake", "contract": load(table), "day": DAY, "job": table, "run_id": "one"}
    known |= {"started": NOW - timedelta(seconds=9), "draft": draft}
    return [check(Serde.to_json(event)) for event in events(Told(**(known | more)))]


@pytest.fixture
def receipt(tmp_path: Path) -> dict[str, Any]:
    contract = load("attributions")
    broken = result("expect_column_values_to_not_be_in_set", "fate", success=False, severity="warning", element_count=4, unexpected_count=3)
    facts = facts_of(contract, 2)
    facts["results"] += [broken, result("expect_table_row_count_to_be_between", None, observed_value=2, asked_min_value=1)]
    rows = [{"event_id": f"e{n}", "user_id": "u"} for n in range(2)]
    return publish_day(tmp_path, contract, datetime(2026, 1, 5).date(), rows, **facts)


def test_a_check_can_fail(receipt: dict[str, Any]) -> None:
    event = told(receipt=receipt)[0]
    spoil = [
        lambda e: e["outputs"][0]["outputFacets"]["outputStatistics"].update(rowCount="two"),
        lambda e: e["outputs"][0]["facets"].update(e["outputs"][0]["outputFacets"]),
        lambda e: e["run"]["facets"]["nominalTime"].pop("nominalStartTime"),
        lambda e: e["inputs"][0]["facets"]["version"].update(dataset_version=3),
        lambda e: e["run"].update(runId="one"),
        lambda e: e.update(eventType="DONE"),
    ]
    for change in spoil:
        wrong = json.loads(json.dumps(event))
        change(wrong)
        with pytest.raises((jsonschema.ValidationError, AssertionError, ValueError)):
            check(json.dumps(wrong))


def test_a_run_starts_and_completes_with_versions_statistics_and_lineage(receipt: dict[str, Any]) -> None:
    (start,) = told(state="START")
    event, *_ = told(receipt=receipt)
    assert (start["eventType"], event["eventType"]) == ("START", "COMPLETE") and start["run"]["runId"] == event["run"]["runId"]
    assert event["job"]["namespace"] == "sluice" and event["job"]["name"] == "attributions"
    (read,), (written,) = event["inputs"], event["outputs"]
    assert (read["namespace"], read["name"], read["facets"]["version"]["datasetVersion"]) == ("file", "/lake/requests/v1", "3")
    assert (read["inputFacets"]["inputStatistics"]["rowCount"], read["inputFacets"]["inputStatistics"]["size"]) == (7, 70)
    days = [p["dimensions"]["day"] for p in read["inputFacets"]["subset"]["inputCondition"]["partitions"]]
    assert days == ["2026-01-04", DAY]
    assert (written["name"], written["facets"]["version"]["datasetVersion"]) == ("/lake/attributions/v1", "1")
    statistics = written["outputFacets"]["outputStatistics"]
    assert (statistics["rowCount"], statistics["size"]) == (2, receipt["bytes"])
    assert written["outputFacets"]["subset"]["outputCondition"]["partitions"] == [{"dimensions": {"day": DAY}}]
    assert [f["name"] for f in written["facets"]["schema"]["fields"]] == [c.name for c in load("attributions").columns]
    fields = written["facets"]["columnLineage"]["fields"]
    assert {name: [(i["name"], i["field"]) for i in f["inputFields"]] for name, f in fields.items()} == {
        "event_id": [("/lake/events/v1", "event_id")],
        "request_id": [("/lake/requests/v1", "request_id")],
    }, "what the contract says and nothing else"
    assert [t["field"] for t in written["facets"]["tags"]["tags"]] == ["user_id"]
    own = event["run"]["facets"]["sluice_tableDay"]
    assert (own["day"], own["content_hash"], own["reasons"]) == (DAY, receipt["content_hash"], ["made"])
    assert own["receipt"] == "/lake/attributions/v1/_receipts/2026-01-05.1.json"
    assert event["run"]["facets"]["nominalTime"]["nominalEndTime"] == "2026-01-06T00:00:00.000Z"


def test_the_gate_is_a_run_of_its_own_with_every_result(receipt: dict[str, Any]) -> None:
    run, start, event = told(receipt=receipt, results=receipt["results"])
    assert [(e["eventType"], e["job"]["name"]) for e in (start, event)] == [
        ("START", "attributions.gate"),
        ("COMPLETE", "attributions.gate"),
    ]
    assert event["run"]["facets"]["parent"]["run"]["runId"] == run["run"]["runId"] != event["run"]["runId"] == start["run"]["runId"]
    assert start["eventTime"] == "2026-01-06T00:29:59.500Z", "gate_s before its end"
    (audited,) = event["inputs"]
    asked = audited["inputFacets"]["dataQualityAssertions"]["assertions"]
    assert [a["name"] for a in asked] == [r["name"] for r in receipt["results"]]
    assert [(a["success"], a["severity"], a.get("column"), a["actual"]) for a in asked] == [
        (True, "error", "event_id", "0"),
        (False, "warn", "fate", "3"),
        (True, "error", None, "2"),
    ]
    metrics = audited["inputFacets"]["dataQualityMetrics"]
    assert (metrics["rowCount"], metrics["columnMetrics"]["event_id"]["nullCount"]) == (2, 0)


def test_a_refused_run_fails_with_what_its_gate_saw(receipt: dict[str, Any]) -> None:
    run, start, gate = told(state="FAIL", error="the gate refused", results=receipt["results"])
    assert "errorMessage" in gate["run"]["facets"] and "errorMessage" not in start["run"]["facets"]
    assert [e["eventType"] for e in (run, gate)] == ["FAIL", "FAIL"]
    assert run["run"]["facets"]["errorMessage"]["message"] == "the gate refused"
    assert "version" not in run["outputs"][0]["facets"] and "outputStatistics" not in run["outputs"][0]["outputFacets"]


def test_nested_columns_and_elements_are_named_as_the_specification_does() -> None:
    over = result("expect_column_values_to_not_be_null", "item_id")
    over["expectation_config"]["meta"]["over"] = "items"
    run, _, gate = told("entire_space", results=[over], receipt={"rows": 1, "bytes": 2, "version": 3, "gate_s": 1})
    items = next(f for f in run["outputs"][0]["facets"]["schema"]["fields"] if f["name"] == "items")
    (element,) = items["fields"]
    assert (items["type"], element["name"], element["type"], element["fields"][0]["name"]) == ("array", "_element", "struct", "item_id")
    context = next(f for f in run["outputs"][0]["facets"]["schema"]["fields"] if f["name"] == "page_context")
    assert [f["name"] for f in context["fields"]] == ["key", "value"]
    facets = gate["inputs"][0]["inputFacets"]
    assert facets["dataQualityAssertions"]["assertions"][0]["column"] == "items.item_id"
    assert facets["dataQualityMetrics"]["columnMetrics"] == {}, "nulls of elements are none of the column"


def test_sources_object_stores_and_what_started_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    draft = {"run_id": "one", "inputs": {}, "accounts": [{"in": 12}], "source": "s3://logs/shop", "options": {"source": "files"}}
    monkeypatch.setenv("OPENLINEAGE_NAMESPACE", "prod")
    monkeypatch.setenv("OPENLINEAGE_PARENT_ID", "airflow/dev/ingest.ingest/0191c3a4-7f3e-7c1e-8a3e-6f1e2d3c4b5a")
    (event,) = told("items", lake="s3://bucket/lake", job="ingest.items", draft=draft)
    assert (event["inputs"][0]["namespace"], event["inputs"][0]["name"]) == ("s3://logs", "shop")
    assert event["inputs"][0]["inputFacets"]["inputStatistics"]["rowCount"] == 12
    assert (event["outputs"][0]["namespace"], event["outputs"][0]["name"]) == ("s3://bucket", "lake/items/v1")
    assert event["job"]["namespace"] == "prod"
    assert event["run"]["facets"]["parent"]["job"] == {"namespace": "airflow/dev", "name": "ingest.ingest", "facets": {}}
    (simulated,) = told("items", draft=draft | {"source": None})
    assert (simulated["inputs"][0]["namespace"], simulated["inputs"][0]["name"]) == ("sluice", "source files")
