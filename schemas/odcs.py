"""A contract as an Open Data Contract Standard document (v3.1.0): plain data, which JSON and YAML both hold."""

from typing import Any

from schemas.contract import Column, Contract
from schemas.derive import Field, Type, parse_type

LOGICAL = {"tinyint": "integer", "int": "integer", "bigint": "integer", "float": "number", "double": "number", "binary": "string"}
LOGICAL |= {"map": "object", "struct": "object"}


def document(contract: Contract) -> dict[str, Any]:
    """The contract in the standard's terms: schema with logical and physical types, keys, quality, service levels."""
    return {
        "apiVersion": "v3.1.0",
        "kind": "DataContract",
        "id": f"sluice:{contract.name}:v{contract.version}",
        "name": contract.name,
        "version": f"{contract.version}.0.0",
        "status": "active",
        "domain": contract.owner,
        "description": {"purpose": contract.doc, **({"usage": contract.source} if contract.source else {})},
        "schema": [_object(contract)],
        "slaProperties": [
            {"property": "retention", "value": contract.keep_days, "unit": "d"},
            {"property": "frequency", "value": 1, "unit": "d"},
            *([{"property": "labelMaturity", "value": contract.matures_after, "unit": "d"}] if contract.matures_after else []),
        ],
    }


def _object(contract: Contract) -> dict[str, Any]:
    return {
        "name": contract.name,
        "logicalType": "object",
        "physicalType": "table",
        "physicalName": f"{contract.name}/v{contract.version}",
        "description": contract.doc,
        "dataGranularityDescription": f"one row per day and {', '.join(contract.grain)}",
        "properties": [_property(contract, c) for c in contract.columns],
    }


def _property(contract: Contract, column: Column) -> dict[str, Any]:
    key = ("day", *contract.grain)
    found = {**_typed(parse_type(column.type)), "name": column.name, "physicalType": column.type, "description": column.doc}
    found |= {
        "required": not column.nullable,
        "partitioned": column.name == "day",
        "classification": "personal" if column.personal else "internal",
    }
    if column.name == "day":
        found["partitionKeyPosition"] = 1
    if column.name in key:
        found |= {"primaryKey": True, "primaryKeyPosition": key.index(column.name) + 1}
    if column.references:
        found["relationships"] = [{"type": "foreignKey", "to": column.references}]
    return found


def _typed(kind: Type) -> dict[str, Any]:
    found: dict[str, Any] = {"logicalType": LOGICAL.get(kind.kind, kind.kind)}
    if kind.kind == "array":
        found["items"] = _typed(kind.parts[0].type)
    if kind.kind == "struct":
        found["properties"] = [_field(part) for part in kind.parts]
    return found


def _field(part: Field) -> dict[str, Any]:
    return {"name": part.name, "required": not part.nullable, **_typed(part.type)}
