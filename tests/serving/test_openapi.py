"""The server against its own description: Schemathesis draws requests of every route of /openapi.json, right and wrong.

Its strategies and checks are used without its pytest plugin, which reaches into pytest."""

from __future__ import annotations

from collections import Counter

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from tests.serving.conftest import wav

EXAMPLES = 15  # of each route, right ones and wrong ones
ROUTES = (
    *("GET /health", "GET /metrics", "GET /v1/models", "GET /v1/models/{model}"),
    *("POST /v1/chat/completions", "POST /v1/embeddings", "POST /v1/images/generations"),
    *("POST /v1/audio/speech", "POST /v1/audio/transcriptions"),
)
BOUNDED = settings(
    max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


@pytest.fixture(scope="module")
def described(address):
    found = schemathesis.openapi.from_url(f"{address}/openapi.json")
    operations = [each.ok() for each in found.get_all_operations()]
    return {operation.label: operation for operation in operations}


ANSWERABLE = {"messages": {"messages": [{"role": "user", "content": "a cat"}], "max_tokens": 4}, "file": {"file": wav()}}


def of_this_server(body):
    """Now and then a request of the model that there is, of what it can answer: or none would be answered."""
    if isinstance(body, dict) and isinstance(body.get("model"), str) and len(str(body)) % 2:
        return {
            **body,
            "model": "tiny",
            **{k: v for name in ANSWERABLE if name in body for k, v in ANSWERABLE[name].items()},
        }
    return body


def test_every_described_route_is_asked(described):
    assert sorted(described) == sorted(ROUTES)


@pytest.mark.parametrize(
    ("route", "mode"),
    [
        *((route, GenerationMode.POSITIVE) for route in ROUTES),
        *((route, GenerationMode.NEGATIVE) for route in ROUTES if route.startswith("POST")),  # others have no body
    ],
)
def test_every_answer_is_one_that_the_description_names(route, mode, described):
    """Its status, its content type and its shape; what is malformed is refused, and nothing is an error of the server."""
    operation, statuses = described[route], Counter()

    # What is well formed may be refused, too; and a file is bytes, where the description has a text.
    excluded = [positive_data_acceptance, *([negative_data_rejection] if mode is GenerationMode.POSITIVE else [])]

    @BOUNDED
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case):
        if mode is GenerationMode.POSITIVE:
            case.body = of_this_server(case.body)
        response = case.call(timeout=60)
        statuses[response.status_code] += 1
        case.validate_response(response, excluded_checks=excluded)
        if response.status_code >= 400:
            assert set(response.json()["error"]) == {"message", "type", "param", "code"}

    ask()
    assert statuses.total()
    assert mode is GenerationMode.POSITIVE or not statuses[200]
