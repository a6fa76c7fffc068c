"""What is recorded, for other programs: files of calls and of FOCUS costs, data frames, Prometheus, OpenTelemetry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmthrift_core.exports import lazy_exports

if TYPE_CHECKING:
    from llmthrift_core.exporters.calls import export_calls as export_calls
    from llmthrift_core.exporters.exported import Exported as Exported
    from llmthrift_core.exporters.focus import export_focus as export_focus
    from llmthrift_core.exporters.focus_check import check_focus as check_focus
    from llmthrift_core.exporters.frames import to_arrow as to_arrow
    from llmthrift_core.exporters.frames import to_pandas as to_pandas
    from llmthrift_core.exporters.frames import to_polars as to_polars
    from llmthrift_core.exporters.otel import OpenTelemetryExporter as OpenTelemetryExporter
    from llmthrift_core.exporters.prometheus import PrometheusExporter as PrometheusExporter
    from llmthrift_core.exporters.training import TrainingExport as TrainingExport
    from llmthrift_core.exporters.training import export_training as export_training

__all__ = [
    "Exported",
    "OpenTelemetryExporter",
    "PrometheusExporter",
    "TrainingExport",
    "check_focus",
    "export_calls",
    "export_focus",
    "export_training",
    "to_arrow",
    "to_pandas",
    "to_polars",
]

__getattr__ = lazy_exports(
    __name__,
    {
        "llmthrift_core.exporters.calls": ("export_calls",),
        "llmthrift_core.exporters.exported": ("Exported",),
        "llmthrift_core.exporters.focus": ("export_focus",),
        "llmthrift_core.exporters.focus_check": ("check_focus",),
        "llmthrift_core.exporters.frames": ("to_arrow", "to_pandas", "to_polars"),
        "llmthrift_core.exporters.otel": ("OpenTelemetryExporter",),
        "llmthrift_core.exporters.prometheus": ("PrometheusExporter",),
        "llmthrift_core.exporters.training": ("TrainingExport", "export_training"),
    },
)
