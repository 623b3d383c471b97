"""What Prometheus reads. Decides that no label is anything a client chose: routes are templates, codes are ours."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Metrics:
    """Of one server, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = self._counter("requests", "Requests by route and status.", "route", "status")
        self._refused = self._counter("refused", "Refusals by code.", "code")
        self._tokens = self._counter("tokens", "Positions read and tokens written.", "kind")
        self._media = self._counter("media", "Media items taken in and made.", "direction", "kind")
        self._cancelled = self._counter("cancelled", "Answers given up because the client went away.")
        self._seconds = Histogram(
            "polymodal_request_seconds",
            "From the first byte to the last.",
            ["route"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._first = Histogram(
            "polymodal_first_token_seconds", "To the first piece of an answer.", buckets=_SECONDS, registry=self.registry
        )
        self._gauge = Gauge(
            "polymodal_engine",
            "What the engine says of itself: active and waiting requests, and more.",
            ["what"],
            registry=self.registry,
        )

    def _counter(self, name: str, help: str, *labels: str) -> Counter:
        return Counter(f"polymodal_{name}", help, labels, registry=self.registry)

    def request(self, route: str, status: int, seconds: float) -> None:
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def refusal(self, code: str) -> None:
        self._refused.labels(code).inc()

    def tokens(self, prompt: int, cached: int, generated: int) -> None:
        for kind, count in (("prompt", prompt), ("cached", cached), ("generated", generated)):
            self._tokens.labels(kind).inc(count)

    def media(self, direction: str, kind: str) -> None:
        self._media.labels(direction, kind).inc()

    def first(self, seconds: float) -> None:
        self._first.observe(seconds)

    def cancelled(self) -> None:
        self._cancelled.inc()

    def text(self, stats: Mapping[str, float]) -> bytes:
        for what, count in stats.items():
            self._gauge.labels(what).set(count)
        return generate_latest(self.registry)
