"""Five hundred malformed requests of a seed; `benchmarks/fuzz_requests.py` sends ten thousand."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import httpx
import psutil
from benchmarks.fuzz_requests import corpus, sent, trouble

from polymodal.serving.app import create
from tests.serving.conftest import LIMITS, serving

COUNT = 500


def test_the_corpus_of_a_seed_is_always_the_same():
    assert list(islice(corpus(3), 40)) == list(islice(corpus(3), 40)) != list(islice(corpus(4), 40))


def test_malformed_requests_are_refused_and_leave_nothing_behind(engine, caplog):
    app = create(engine, LIMITS.model_copy(update={"tokens": 4, "made": 0}), name="tiny", closes=False)
    statuses: Counter[int] = Counter()
    with serving(app) as address, httpx.Client(base_url=address, timeout=60) as http:
        process = psutil.Process()
        for number, one in enumerate(islice(corpus(1), COUNT)):
            if number == COUNT // 4:
                before = process.memory_info().rss
            status, text = sent(http, one)
            assert not trouble(status, text), (number, one, status, text)
            statuses[status] += 1
        assert process.memory_info().rss < before * 1.1
        assert http.get("/health").status_code == 200
        server = app.state.server
        assert server.bodies == 0
        assert server.gate.decoders.killed <= 2
    assert statuses[200] >= COUNT * 0.05  # or it would be about one check alone
    assert statuses[400] >= COUNT * 0.3
    assert not [record for record in caplog.records if record.exc_info]
