"""Many requests at once: at half price through the providers' batch APIs, or several in one prompt."""

from llmthrift_core.exports import lazy_exports

__all__ = ["BatchRequest", "BatchResult", "Batches", "Job", "JobStatus"]

__getattr__ = lazy_exports(
    __name__,
    {
        "llmthrift_core.batching.batches": ("Batches",),
        "llmthrift_core.batching.job": ("BatchResult", "Job", "JobStatus"),
        "llmthrift_core.batching.requests": ("BatchRequest",),
    },
)
