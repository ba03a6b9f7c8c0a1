"""The two text forms of metrics, Prometheus' own and OpenMetrics 1.0."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client import exposition as prometheus
from prometheus_client.openmetrics import exposition as open_metrics

_TOTAL: Final = "_total"
_OPEN_METRICS: Final = "application/openmetrics-text"
_UNDERSTOOD: Final = ("", "1.0.0", "0.0.1")  # versions that a reader of 1.0.0 may ask for

_SPECIAL: Final = re.compile(r'[\\\n"]').search

_PROCESS: Final = CollectorRegistry()
ProcessCollector(registry=_PROCESS)  # memory, processor time and descriptors of the program


@dataclass(frozen=True, slots=True)
class Form:
    """A text form."""

    content_type: str
    suffix: str
    """The suffix that samples of counters have, and their metrics lack."""
    process: Callable[[CollectorRegistry], bytes]

    def head(self, name: str, kind: str, meaning: str) -> bytes:
        """Return the lines ahead of the samples of a metric."""
        family = name.removesuffix(self.suffix) if kind == "counter" else name
        return f"# HELP {family} {meaning}\n# TYPE {family} {kind}\n".encode()

    def end(self) -> bytes:
        """Return the metrics of the process, and the end of the text."""
        return self.process(_PROCESS)


PROMETHEUS: Final = Form(prometheus.CONTENT_TYPE_LATEST, "", prometheus.generate_latest)
OPEN_METRICS: Final = Form(
    "application/openmetrics-text; version=1.0.0; charset=utf-8", _TOTAL, open_metrics.generate_latest
)


def form_for(accept: str) -> Form:
    """Return the form that a header Accept asks for; OpenMetrics only by name."""
    return OPEN_METRICS if any(map(_asks_for_open_metrics, accept.split(","))) else PROMETHEUS


def _asks_for_open_metrics(item: str) -> bool:
    kind, *parameters = (part.strip() for part in item.split(";"))
    values = dict(part.partition("=")[::2] for part in parameters)
    wanted = values.get("q", "1").strip("0.") != ""
    return kind.lower() == _OPEN_METRICS and wanted and values.get("version", "").strip('"') in _UNDERSTOOD


def label(name: str, value: str) -> str:
    """Return a label with its value."""
    if _SPECIAL(value):
        value = value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
    return f'{name}="{value}"'
