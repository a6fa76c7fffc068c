"""Many requests at once: at half price through the providers' batch APIs, or several in one prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmthrift_core.exports import lazy_exports

if TYPE_CHECKING:
    from llmthrift_core.batching.batcher import Batcher as Batcher
    from llmthrift_core.batching.batches import Batches as Batches
    from llmthrift_core.batching.job import BatchResult as BatchResult
    from llmthrift_core.batching.job import Job as Job
    from llmthrift_core.batching.job import JobStatus as JobStatus
    from llmthrift_core.batching.joint_calls import JointAnswer as JointAnswer
    from llmthrift_core.batching.joint_calls import ModelAnswer as ModelAnswer
    from llmthrift_core.batching.requests import BatchRequest as BatchRequest

__all__ = ["BatchRequest", "BatchResult", "Batcher", "Batches", "Job", "JobStatus", "JointAnswer", "ModelAnswer"]

__getattr__ = lazy_exports(
    __name__,
    {
        "llmthrift_core.batching.batcher": ("Batcher",),
        "llmthrift_core.batching.batches": ("Batches",),
        "llmthrift_core.batching.job": ("BatchResult", "Job", "JobStatus"),
        "llmthrift_core.batching.joint_calls": ("JointAnswer", "ModelAnswer"),
        "llmthrift_core.batching.requests": ("BatchRequest",),
    },
)
