"""`response_format`: JSON of a schema, by the engine among others and by HTTP."""

from __future__ import annotations

import json

import jsonschema_rs
import openai
import pytest
from pydantic import BaseModel

from polymodal.content import image, user
from polymodal.model.sampling import Sampling
from polymodal.serving.engine import Engine
from tests.conftest import picture
from tests.model.test_constraint import SCHEMAS, held
from tests.serving.conftest import asks, png

SECONDS = 120


def form(schema, **more):
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, **more}}


def test_rows_held_to_schemas_and_free_ones_are_written_together(tiny):
    """Each as it is alone: no schema reaches another row."""
    shown = [user(image(picture(1)), "what is this?")]
    free = Sampling(max_new_tokens=30, temperature=1.0, seed=5)
    samplings = [held(schema, temperature=1.0, seed=7) for schema in SCHEMAS.values()] + [free]
    with Engine(tiny) as engine:
        alone = [engine.submit(shown, sampling).result(SECONDS).answers[0] for sampling in samplings]
        tickets = [engine.submit(shown, sampling) for sampling in samplings * 3]
        together = [ticket.result(SECONDS).answers[0] for ticket in tickets]
        assert engine.stats()["row_steps"] > engine.stats()["steps"]  # or nothing was together
    for answer, other in zip(together, alone * 3, strict=True):
        assert answer.parts == other.parts
        assert answer.reason == "stop" or answer.tokens == 30
    for answer, schema in zip(alone, SCHEMAS.values(), strict=False):
        assert answer.reason == "stop"
        assert jsonschema_rs.is_valid(schema, json.loads(answer.parts[0].text))


def test_nothing_is_made_within_json(client):
    """The model draws whenever it is asked to."""
    for seed in range(3):
        body = asks("draw a cat", temperature=1.0, seed=seed, response_format=form(SCHEMAS["object"]))
        choice = client.chat.completions.create(**{**body, "max_tokens": 200}).choices[0]
        assert choice.finish_reason == "stop"
        assert jsonschema_rs.is_valid(SCHEMAS["object"], json.loads(choice.message.content))


def test_answers_by_http_are_those_of_the_library(client, maker):
    body = asks("hello", temperature=1.0, seed=4, n=2, response_format=form(SCHEMAS["pattern"], strict=True))
    whole = client.chat.completions.create(**{**body, "max_tokens": 200})
    for number, choice in enumerate(whole.choices):
        sampling = held(SCHEMAS["pattern"], temperature=1.0, seed=4 + number)
        assert choice.message.content == maker.generate([[user("hello")]], sampling)[0][0].text
    said = ["", ""]
    for chunk in client.chat.completions.create(**{**body, "max_tokens": 200}, stream=True):
        for choice in chunk.choices:
            said[choice.index] += choice.delta.content or ""
    assert said == [choice.message.content for choice in whole.choices]


class Animal(BaseModel):
    alive: bool
    legs: list[bool]


def test_the_client_parses_what_it_asked_for(client):
    body = {**asks("hello", temperature=1.0, seed=2), "max_tokens": 200}
    assert client.chat.completions.parse(**body, response_format=Animal).choices[0].message.parsed.alive in (True, False)


def test_an_object_is_asked_for_without_a_schema(client):
    body = {**asks("hello", png(), temperature=0.7, seed=9), "max_tokens": 400}
    choice = client.chat.completions.create(**body, response_format={"type": "json_object"}).choices[0]
    assert choice.message.content.startswith("{")
    if choice.finish_reason == "stop":  # a random model may go on for ever within a string
        assert isinstance(json.loads(choice.message.content), dict)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("wanted", "code", "param"),
    [
        (form({"type": "strin"}), "schema_not_allowed", "response_format.json_schema.schema"),
        (form({"$ref": "http://127.0.0.1:9/x"}), "schema_not_allowed", "response_format.json_schema.schema"),
        (form({"enum": ["a" * 30_000]}), "text_too_long", "response_format.json_schema.schema"),
        (form("a string"), "invalid_field", "response_format.json_schema.schema"),
        (form({}, grammar="root ::= x"), "unknown_field", "response_format.json_schema.grammar"),
        ({"type": "json_schema"}, "invalid_field", "response_format.json_schema"),
        ({"type": "json_object", "json_schema": {"schema": {}}}, "invalid_field", "response_format.json_schema"),
        ({"type": "grammar"}, "invalid_field", "response_format.type"),
    ],
)
def test_a_schema_that_is_none_is_refused_by_the_name_of_its_field(client, wanted, code, param, stream):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**asks("hi", stream=stream), response_format=wanted)
    assert (caught.value.code, caught.value.param) == (code, param)
