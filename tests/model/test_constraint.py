"""JSON of a schema: whatever a random model would say, it says what the schema allows."""

from __future__ import annotations

import json

import jsonschema_rs
import pytest
from tests.conftest import picture

from polymodal.content import image, user
from polymodal.errors import SchemaError
from polymodal.model.sampling import Sampling

# each ends by itself, whatever is drawn
SCHEMAS = {
    "object": {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 8},
            "age": {"type": "integer", "minimum": 0, "maximum": 150},
            "tags": {"type": "array", "items": {"enum": ["red", "blue", None, 7]}, "maxItems": 3},
        },
        "required": ["name", "age", "tags"],
        "additionalProperties": False,
    },
    "choice": {
        "anyOf": [{"const": None}, {"type": "boolean"}, {"type": "array", "items": {"type": "boolean"}, "maxItems": 2}]
    },
    "pattern": {"type": "string", "pattern": "^[a-c]{2,5}-[0-9]{3}$"},
    "recursive": {
        "$ref": "#/$defs/tree",
        "$defs": {"tree": {"type": "array", "items": {"$ref": "#/$defs/leaf"}, "maxItems": 2}, "leaf": {"const": 'ä🙂"\\'}},
    },
}


def held(schema, **more) -> Sampling:
    return Sampling(max_new_tokens=200, json_schema=schema, **more)


@pytest.mark.parametrize("name", SCHEMAS)
@pytest.mark.parametrize("temperature", [0.0, 1.0, 2.0])
def test_every_answer_of_a_random_model_is_of_its_schema(name, temperature, tiny):
    conversations = [[user(image(picture(n)), "what is this?" * n)] for n in range(1, 6)]  # ends at different steps
    for parts in tiny.generate(conversations, held(SCHEMAS[name], temperature=temperature, seed=3, repetition_penalty=1.1)):
        (part,) = parts
        assert jsonschema_rs.is_valid(SCHEMAS[name], json.loads(part.text)), part.text


def test_a_seq2seq_backbone_is_held_to_a_schema(tiny_t5):
    parts = tiny_t5.generate([[user("what is this?")]], held(SCHEMAS["choice"], temperature=1.0, seed=1))[0]
    assert jsonschema_rs.is_valid(SCHEMAS["choice"], json.loads(parts[0].text))


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "strin"}, "Invalid type"),
        ({"type": "string", "pattern": "(("}, "regex parse error"),
        ({"enum": []}, "Unsatisfiable"),
        ({"type": "integer", "minimum": 5, "maximum": 3}, "Unsatisfiable"),
        ({"not": {"type": "string"}}, "not"),
        ({"$ref": "http://127.0.0.1:9/secret"}, "not present"),
        ({"$ref": "file:///etc/passwd"}, "not present"),
        ({"type": "array", "uniqueItems": True, "x-guidance": {"lenient": True}}, "uniqueItems"),
    ],
)
def test_what_an_answer_cannot_be_held_to_is_refused_by_its_name(schema, said, tiny):
    with pytest.raises(SchemaError, match=f"json_schema: .*{said}"):
        tiny.generate([[user("hello")]], held(schema))


def test_a_search_is_not_held_to_a_schema(tiny):
    with pytest.raises(SchemaError, match="beams: 1"):
        tiny.generate([[user("hello")]], held(SCHEMAS["choice"], beams=2))
