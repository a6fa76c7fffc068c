"""A provider on loopback, for tests and demonstrations: real HTTP, real client libraries, no key and no network.

>>> from llmthrift_core.testing import LoopbackProvider
>>> with LoopbackProvider() as provider:
...     provider.openai_url.startswith("http://127.0.0.1:")
True
"""

from llmthrift_core.testing.answers import Answer, Question, ToolCall
from llmthrift_core.testing.batch_desk import BatchDesk
from llmthrift_core.testing.provider import Billed, LoopbackProvider, ReceivedRequest

__all__ = ["Answer", "BatchDesk", "Billed", "LoopbackProvider", "Question", "ReceivedRequest", "ToolCall"]
