"""The export is a document of the Open Data Contract Standard, by the standard's own model and its JSON schema."""

import json
from importlib.resources import files

import jsonschema
import pytest
from open_data_contract_standard.model import OpenDataContractStandard

from schemas.contract import load, load_all
from schemas.odcs import document


@pytest.fixture(scope="module")
def standard() -> jsonschema.Validator:
    schema = json.loads(files("open_data_contract_standard").joinpath("schema.json").read_text())
    return jsonschema.validators.validator_for(schema)(schema)


def test_every_contract_is_a_document_of_the_standard(standard):
    documents = [document(c) for c in load_all()]
    assert len(documents) >= 7
    for each in documents:
        faults = [f"{each['name']}: {list(e.absolute_path)}: {e.message[:200]}" for e in standard.iter_errors(each)]
        assert faults == []
        assert OpenDataContractStandard.model_validate(each).schema_[0].name == each["name"]
    assert [e.message for e in standard.iter_errors({**documents[0], "kind": "Recipe"})], "the schema does refuse"


def test_columns_keys_and_nested_fields_are_told():
    each = document(load("entire_space"))
    properties = {p["name"]: p for p in each["schema"][0]["properties"]}
    assert list(properties) == [c.name for c in load("entire_space").columns]
    assert (properties["day"]["partitionKeyPosition"], properties["day"]["primaryKeyPosition"]) == (1, 1)
    assert properties["request_id"]["primaryKeyPosition"] == 2 and properties["request_id"]["required"]
    assert properties["user_id"]["classification"] == "personal"
    items = {p["name"]: p for p in properties["items"]["items"]["properties"]}
    assert (items["item_id"]["required"], items["position"]["required"]) == (True, False)
    assert (items["p_inclusion"]["logicalType"], items["position"]["logicalType"]) == ("number", "integer")
    assert {p["property"]: p["value"] for p in each["slaProperties"]} == {"retention": 400, "frequency": 1, "labelMaturity": 8}


def test_references_are_relationships():
    properties = {p["name"]: p for p in document(load("attributions"))["schema"][0]["properties"]}
    assert properties["event_id"]["relationships"] == [{"type": "foreignKey", "to": "events.event_id"}]
    assert "relationships" not in properties["item_id"]
