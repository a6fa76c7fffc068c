"""A static audit: reads Python files and notebooks without running them, and finds what makes model calls dear."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmthrift_core.exports import lazy_exports

if TYPE_CHECKING:
    from llmthrift_core.auditing.findings import Finding as Finding
    from llmthrift_core.auditing.project import audit_project as audit_project
    from llmthrift_core.auditing.report import AuditReport as AuditReport

__all__ = ["AuditReport", "Finding", "audit_project"]

__getattr__ = lazy_exports(
    __name__,
    {
        "llmthrift_core.auditing.project": ("audit_project",),
        "llmthrift_core.auditing.findings": ("Finding",),
        "llmthrift_core.auditing.report": ("AuditReport",),
    },
)
