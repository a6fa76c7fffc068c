"""The places of a module where models are made and asked."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from llmthrift_core.auditing.clients import ASKING, ENGINES, MODEL_NAMES, WRAPPING, Family, agent_name, client_class, model_class
from llmthrift_core.auditing.module import Arguments, Module

_PACKAGES: Final = ("langchain", "langgraph", "llama_index", "deepagents", "llmthrift")
_MODEL_LIKE: Final = re.compile(r"(^|_)(llm|chat_model|chain|agent|agent_executor|query_engine|chat_engine)\d?$")
_MODEL_TYPES: Final = frozenset(
    [
        "BaseChatModel",
        "BaseLanguageModel",
        "BaseLLM",
        "LLM",
        "FunctionCallingLLM",
        "CustomLLM",
        "Runnable",
        "AgentExecutor",
        "CompiledStateGraph",
        "CompiledGraph",
    ]
)
_CLIENT_CALLS: Final[tuple[tuple[str, Family], ...]] = (
    ("chat.completions.create", "openai"),
    ("chat.completions.parse", "openai"),
    ("chat.completions.stream", "openai"),
    ("chat.completions.with_raw_response.create", "openai"),
    ("ChatCompletion.create", "openai"),
    ("ChatCompletion.acreate", "openai"),
    ("responses.create", "openai"),
    ("responses.parse", "openai"),
    ("responses.stream", "openai"),
    ("completions.create", "openai"),
    ("messages.create", "anthropic"),
    ("messages.stream", "anthropic"),
    ("messages.parse", "anthropic"),
    ("models.generate_content", "google"),
    ("models.generate_content_stream", "google"),
    ("generate_content", "google"),
    ("generate_content_async", "google"),
)
_PROVIDER_PACKAGES: Final = {
    "openai": ("openai", "groq", "together", "langfuse"),
    "anthropic": ("anthropic",),
    "google": ("google", "vertexai"),
}
_LITELLM: Final = frozenset(f"litellm.{name}" for name in ("completion", "acompletion", "text_completion", "responses", "aresponses"))


@dataclass(frozen=True)
class ModelUse:
    """A call that makes a model of a framework, or that asks a plain client.

    Attributes:
        node: the call.
        family: the framework, or the plain client's provider.
        name: how the place is called: `ChatOpenAI`, `chat.completions.create`.
        full_name: of a framework's class where it was imported from.
        is_model: it makes a model that is asked elsewhere.
        client: of a plain client's call, the call that made the client.
    """

    node: ast.Call
    family: Family
    name: str
    full_name: str
    is_model: bool
    arguments: Arguments
    client: ast.Call | None = None

    def model(self, module: Module) -> str | None:
        """The model's name, where the text tells it."""
        given = next((self.arguments.named[name] for name in MODEL_NAMES if name in self.arguments.named), None)
        takes_first = self.name == "init_chat_model" or self.family in ("litellm", "llamaindex") or self.name == "GenerativeModel"
        if given is None and takes_first and self.arguments.positional:
            given = self.arguments.positional[0]
        value = None if given is None else module.constant(given)
        return value if isinstance(value, str) else None


def dotted(node: ast.expr) -> str:
    """The attributes behind the innermost name or call: `chat.completions.create` of `make().chat.completions.create`."""
    names = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return ".".join(reversed(names))


class ModelUses:
    """Finds the models of a module, and what asks them."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self._uses: dict[ast.Call, ModelUse | None] = {}
        self._asks: dict[ast.Call, bool] = {}
        self._has_framework = any(package.startswith(_PACKAGES) for package in module.packages)

    def __iter__(self) -> Iterator[ModelUse]:
        for call in self.module.calls:
            if (use := self.of(call)) is not None:
                yield use

    def of(self, call: ast.Call) -> ModelUse | None:
        """The use of a model that a call is, or None."""
        if call not in self._uses:
            self._uses[call] = self._find(call)
        return self._uses[call]

    def _find(self, call: ast.Call) -> ModelUse | None:
        called = self.module.callee(call)
        full = self.module.qualified(called)
        if full is not None:
            last = full.rpartition(".")[2]
            if (family := model_class(full)) is not None:
                return ModelUse(call, family, last, full, True, self.module.arguments(call))
            if full in _LITELLM:
                return ModelUse(call, "litellm", full, full, False, self.module.arguments(call))
            if full in ("google.generativeai.GenerativeModel", "vertexai.generative_models.GenerativeModel"):
                return ModelUse(call, "google", last, full, True, self.module.arguments(call))
        func = self.module.origin(called)
        if not isinstance(func, ast.Attribute):
            return None
        chain = dotted(func)
        for ending, family in _CLIENT_CALLS:
            if chain == ending or chain.endswith(f".{ending}"):
                client = self._client(func, ending)
                made = client_class(self.module.qualified(client.func) or "") if client is not None else None
                if client is not None and made is None:
                    return None
                if not set(_PROVIDER_PACKAGES[family]) & self.module.packages and made is None and ending != "chat.completions.create":
                    return None
                if ending.startswith("generate_content") and client is not None and self.of(client) is not None:
                    return None  # the model of Google's first client takes the limit when it is made
                return ModelUse(call, family, ending, ending, False, self.module.arguments(call), client)
        return None

    def _client(self, func: ast.Attribute, ending: str) -> ast.Call | None:
        node: ast.expr = func
        for _ in range(ending.count(".") + 1):
            if isinstance(node, ast.Attribute):
                node = node.value
        while True:
            node = self.module.origin(node)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("with_options", "copy"):
                node = node.func.value
            elif isinstance(node, ast.Attribute) and node.attr in ("beta", "aio"):
                node = node.value
            else:
                return node if isinstance(node, ast.Call) else None

    # --- what asks ---

    def asks(self, call: ast.Call) -> bool:
        """Does this call ask a model: a client, a model, a chain, an agent, an engine, or a function here that does?"""
        if call not in self._asks:
            self._asks[call] = False  # while it is being found out: functions may call each other in a circle
            self._asks[call] = self._find_asking(call)
        return self._asks[call]

    def _find_asking(self, call: ast.Call) -> bool:
        use = self.of(call)
        if use is not None and not use.is_model:
            return True
        func = call.func
        if isinstance(func, ast.Attribute) and func.attr in ASKING:
            return self.is_model(func.value)
        if isinstance(func, ast.Attribute) and func.attr.startswith("generate_content"):
            return self.is_model(func.value)
        name = func.id if isinstance(func, ast.Name) else func.attr if isinstance(func, ast.Attribute) else ""
        own = isinstance(func, ast.Name) or (
            isinstance(func, ast.Attribute) and isinstance(func.value, ast.Name) and func.value.id == "self"
        )
        return own and name in self._asking_functions

    @cached_property
    def _asking_functions(self) -> frozenset[str]:
        """The functions here that ask a model, directly or through each other."""
        inner: dict[str, list[ast.Call]] = {}
        for call in self.module.calls:
            for above in self.module.ancestors(call):
                if isinstance(above, ast.FunctionDef | ast.AsyncFunctionDef):
                    inner.setdefault(above.name, []).append(call)
                    break
        found = {name for name, calls in inner.items() if any(self._asks_directly(call) for call in calls)}
        while True:
            more = {
                name
                for name, calls in inner.items()
                if name not in found
                and any(
                    (isinstance(call.func, ast.Name) and call.func.id in found)
                    or (
                        isinstance(call.func, ast.Attribute)
                        and dotted(call.func) in found
                        and isinstance(call.func.value, ast.Name)
                        and call.func.value.id == "self"
                    )
                    for call in calls
                )
            }
            if not more:
                return frozenset(found)
            found |= more

    def _asks_directly(self, call: ast.Call) -> bool:
        use = self.of(call)
        if use is not None and not use.is_model:
            return True
        return isinstance(call.func, ast.Attribute) and call.func.attr in (*ASKING, "generate_content") and self.is_model(call.func.value)

    def is_model(self, node: ast.expr, depth: int = 0) -> bool:
        """Does an expression stand for a model, or for something that asks one?"""
        if depth > 12:
            return False
        node = self.module.origin(node)
        if isinstance(node, ast.Call):
            use = self.of(node)
            full = self.module.qualified(node.func) or ""
            if (use is not None and use.is_model) or agent_name(full) is not None or is_metered_name(full):
                return True
            if isinstance(node.func, ast.Attribute):
                if node.func.attr in WRAPPING:
                    return self.is_model(node.func.value, depth + 1) or (node.func.attr == "compile" and self._is_graph(node.func.value))
                return node.func.attr in ENGINES and "llama_index" in self.module.packages
            return self._has_framework and any(keyword.arg == "llm" for keyword in node.keywords)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
            return self.is_model(node.left, depth + 1) or self.is_model(node.right, depth + 1)
        if isinstance(node, ast.IfExp):
            return self.is_model(node.body, depth + 1) or self.is_model(node.orelse, depth + 1)
        return self._is_model_like(node)

    def _is_graph(self, node: ast.expr) -> bool:
        made = self.module.origin(node)
        return isinstance(made, ast.Call) and (self.module.qualified(made.func) or "").endswith(("StateGraph", "MessageGraph"))

    def _is_model_like(self, node: ast.expr) -> bool:
        """A parameter or an attribute that is a model by its annotation or its name, in a file that uses a framework."""
        if not self._has_framework:
            return False
        if isinstance(node, ast.Name):
            scope = self.module.scope(node).lookup(node.id)
            annotation = scope.annotations.get(node.id) if scope is not None else None
            if annotation is not None:
                names = {part.id for part in ast.walk(annotation) if isinstance(part, ast.Name)}
                return bool(names & _MODEL_TYPES) or any(name.startswith("Chat") and name[4:5].isupper() for name in names)
            return _MODEL_LIKE.search(node.id.lower()) is not None
        return isinstance(node, ast.Attribute) and _MODEL_LIKE.search(node.attr.lower()) is not None


def is_metered_name(full: str) -> bool:
    """Is this a door of llmthrift that keeps budgets?"""
    root, _, rest = full.partition(".")
    return root in ("llmthrift_langchain", "llmthrift_llamaindex") and rest.rpartition(".")[2] in (
        "thrifty",
        "ChatRouter",
        "RouterLLM",
        "BatchChatModel",
        "BatchLLM",
        "batched",
        "ThriftMiddleware",
    )
