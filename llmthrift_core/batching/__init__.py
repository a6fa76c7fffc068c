"""Many requests at once: at half price through the providers' batch APIs, or several in one prompt."""

from llmthrift_core.exports import lazy_exports

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
