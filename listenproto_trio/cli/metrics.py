"""The figures of ``listenproto serve`` in Prometheus' text format (extra ``metrics``)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from prometheus_client import CollectorRegistry, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from listenproto._app_session import AppSession
from listenproto._ended_call import EndedCall
from listenproto._ends import EndKind
from listenproto._statistics import Statistics
from listenproto_trio._call import Call

__all__ = ["Metrics"]

BUCKETS: Final = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Upper bounds of the lateness of a call, in seconds."""
INTERNAL_ERROR: Final = 1011
"""The code with which a call is closed whose handler failed."""


class Metrics(Collector):
    """Adds up the calls that are over, and at each look those that are open."""

    def __init__(self) -> None:
        self._open: dict[AppSession, Call] = {}
        self._ended: Counter[str] = Counter()
        self._violations: Counter[str] = Counter()
        self._figures: Counter[str] = Counter()
        self._registry = CollectorRegistry()
        self._late = Histogram(
            "listenproto_call_lateness_seconds",
            "How late the audio of a call came at worst, of calls that are over.",
            buckets=BUCKETS,
            registry=self._registry,
        )
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def began(self, call: Call) -> None:
        """A call has begun; it is open until :meth:`ended`."""
        self._open[call.session] = call

    def ended(self, call: EndedCall) -> None:
        """A call is over."""
        self._open.pop(call.session, None)
        kind = EndKind.FAILED if call.close_code == INTERNAL_ERROR else call.end.kind
        self._ended[kind.value.replace(" ", "_")] += 1
        self._violations.update(call.violations)
        self._figures.update(_counted(call.statistics))
        self._late.observe(call.statistics.worst_lateness)

    def lost(self) -> None:
        """A call has ended before its handler could start."""
        self._ended["no_metadata"] += 1

    def page(self) -> str:
        """All figures, as text."""
        return generate_latest(self._registry).decode()

    def collect(self) -> Iterator[Metric]:
        """The figures that are not kept by the registry; it calls this."""
        calls = [*self._open.values()]
        statistics = [call.statistics for call in calls]
        figures = Counter(self._figures)
        violations = Counter(self._violations)
        for call, one in zip(calls, statistics, strict=True):
            figures.update(_counted(one))
            violations.update(call.core.violations)
        yield GaugeMetricFamily("listenproto_calls_open", "Calls that are open.", len(calls))
        late = max((one.lateness for one in statistics), default=0.0)
        about = "How late the newest audio of the latest open call is."
        yield GaugeMetricFamily("listenproto_lateness_seconds", about, late)
        yield _by("calls_ended", "Calls that are over, by what ended them.", "reason", self._ended)
        for name, about in (
            ("messages", "Messages, of open calls, too."),
            ("audio_bytes", "Bytes of audio, of open calls, too."),
        ):
            ways = {
                "received": figures[f"{name}_received"],
                "sent": figures[f"{name}_sent"],
            }
            yield _by(name, about, "direction", ways)
        about = "Samples of audio that the app did not read in time."
        dropped = figures["samples_dropped"]
        yield CounterMetricFamily("listenproto_samples_dropped", about, dropped)
        about = "Other events that the app did not read in time."
        yield CounterMetricFamily("listenproto_events_dropped", about, figures["events_dropped"])
        about = "Breaches of the protocol by platforms, by the clause of the spec."
        yield _by("violations", about, "clause", violations)


def _counted(statistics: Statistics) -> dict[str, int]:
    return {
        "messages_received": statistics.messages_received,
        "messages_sent": statistics.messages_sent,
        "audio_bytes_received": statistics.audio_received,
        "audio_bytes_sent": statistics.audio_sent,
        "samples_dropped": statistics.samples_dropped,
        "events_dropped": statistics.events_dropped,
    }


def _by(name: str, about: str, label: str, figures: dict[str, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(f"listenproto_{name}", about, labels=[label])
    for value, figure in sorted(figures.items()):
        family.add_metric([value], figure)
    return family
