"""Keys and what is sent: calls that differ in what is sent never share a key; calls that send the same do.

Every client that can be installed is asked in many ways; a server writes down what came, and the cache which key was looked up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextvars import copy_context
from dataclasses import dataclass as plain_dataclass
from dataclasses import field
from typing import Annotated, Any

import pytest
from langchain_core.messages import AIMessage, ChatMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from llama_index.core.base.llms.types import ImageBlock, TextBlock
from llama_index.core.llms import ChatMessage as LlamaMessage
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

import llmthrift_langchain as lc
import llmthrift_llamaindex as li
from llmthrift_core import Thrift
from tests.contracts import test_usage as clients
from tests.contracts.sent import Case, Keys, Wire, called, compared, wire

pytestmark = [pytest.mark.loopback, pytest.mark.filterwarnings("ignore")]  # the clients' own warnings
_LOOP = asyncio.Runner()


@pytest.fixture(scope="module")
def server() -> Iterator[Wire]:
    with wire() as found:
        yield found


# --- schemas and tools that look alike ---


def schemas() -> dict[str, Any]:
    """Schemas of one qualified name, which differ in a field, a description or their own name."""

    def one() -> Any:
        class City(BaseModel):
            """A city."""

            name: str

        return City

    def other() -> Any:
        class City(BaseModel):
            """A city."""

            name: str
            country: str

        return City

    def told() -> Any:
        class City(BaseModel):
            """A city."""

            name: str = Field(description="as its people call it")

        return City

    class CityDict(TypedDict):
        """A city."""

        name: Annotated[str, ..., "its name"]

    class ToldDict(TypedDict):
        """A city."""

        name: Annotated[str, ..., "as its people call it"]

    ToldDict.__name__ = ToldDict.__qualname__ = CityDict.__name__
    plain = {"title": "City", "description": "A city.", "type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    return {
        "pydantic": one(), "the same pydantic": one(), "other pydantic": other(), "told pydantic": told(),
        "typed": CityDict, "told typed": ToldDict, "plain": plain, "other plain": {**plain, "title": "Town"},
    }  # fmt: skip


def tools() -> dict[str, Any]:
    """Tools of one name, which differ in their description or arguments."""

    @tool
    def look(city: str) -> str:
        """Look at a city."""
        return city

    first = look

    @tool("look")
    def again(city: str) -> str:
        """Look at a town."""
        return city

    @tool("look")
    def further(city: str, far: bool) -> str:
        """Look at a city."""
        return city

    return {"look": first, "look again": again, "look further": further}


# --- LangChain ---


@plain_dataclass(frozen=True)
class Asked:
    """A way of asking a chat model.

    Attributes:
        given: constructor's arguments. changed: fields set on the model afterwards. bound, options: arguments of `bind` and of the call.
    """

    given: Mapping[str, Any] = field(default_factory=dict)
    changed: Mapping[str, Any] = field(default_factory=dict)
    bound: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    messages: Any = "Hi"
    tool: Any = None
    tool_choice: Any = None
    schema: Any = None
    method: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    how: str = "whole"


SAMPLING: dict[str, list[Any]] = {"temperature": [0.1, 0.2], "top_p": [0.5], "stop": [["x"], ["y"]]}
OPENAI = {
    **SAMPLING, "seed": [1, 2], "n": [2], "logit_bias": [{"5": 1}, {"5": 2}], "presence_penalty": [0.5], "max_tokens": [5, 6],
    "model_kwargs": [{"user": "a"}, {"user": "b"}], "extra_body": [{"a": 1}, {"a": 2}], "default_headers": [{"X-Candidate": "a"}],
    "reasoning_effort": ["low"], "service_tier": ["flex"], "logprobs": [True], "extra_headers": [{"X-Candidate": "a"}],
    "response_format": [{"type": "json_object"}], "parallel_tool_calls": [False], "model": ["gpt-4o", "o3"], "timeout": [20],
    "max_retries": [0], "metadata": [{"a": "b"}], "user": ["ada"],
}  # fmt: skip
ANTHROPIC = {
    "temperature": [0.1, 0.2], "top_k": [3], "stop": [["x"]], "stop_sequences": [["x"], ["y"]], "max_tokens": [5, 6],
    "thinking": [{"type": "enabled", "budget_tokens": 1024}], "model_kwargs": [{"metadata": {"user_id": "a"}}], "betas": [["b-1"], ["b-2"]],
    "default_headers": [{"X-Candidate": "a"}], "model": ["claude-opus-4-8"], "timeout": [20], "extra_headers": [{"X-Candidate": "a"}],
}  # fmt: skip
GOOGLE = {
    "temperature": [0.1, 0.2], "top_p": [0.5], "top_k": [3], "stop": [["x"], ["y"]], "seed": [1, 2], "max_output_tokens": [5, 6],
    "thinking_budget": [0], "safety_settings": [{"HARM_CATEGORY_HATE_SPEECH": "BLOCK_NONE"}], "response_mime_type": ["application/json"],
    "additional_headers": [{"X-Candidate": "a"}], "model": ["gemini-2.5-pro"], "timeout": [20], "labels": [{"a": "b"}],
}  # fmt: skip
MISTRAL = {
    **SAMPLING, "random_seed": [1, 2], "max_tokens": [5], "model_kwargs": [{"safe_prompt": True}], "safe_prompt": [True], "model": ["m-2"],
}  # fmt: skip
BEDROCK = {
    "temperature": [0.1, 0.2], "top_p": [0.5], "stop": [["x"], ["y"]], "stop_sequences": [["x"]], "max_tokens": [5, 6],
    "additional_model_request_fields": [{"a": 1}, {"a": 2}], "guardrail_config": [{"guardrailIdentifier": "g", "guardrailVersion": "1"}],
    "performance_config": [{"latency": "optimized"}], "request_metadata": [{"a": "b"}],
}  # fmt: skip
Make = Callable[..., Any]
LANGCHAIN: dict[str, tuple[str, str, dict[str, list[Any]]]] = {
    "openai": ("langchain_openai.ChatOpenAI", "gpt-4o-mini", OPENAI),
    "responses": ("langchain_openai.ChatOpenAI", "gpt-4o-mini", OPENAI),
    "deepseek": ("langchain_deepseek.ChatDeepSeek", "deepseek-chat", OPENAI),
    "xai": ("langchain_xai.ChatXAI", "grok-4", OPENAI | {"search_parameters": [{"mode": "on"}, {"mode": "off"}]}),
    "anthropic": ("langchain_anthropic.ChatAnthropic", "claude-haiku-4-5", ANTHROPIC),
    "google": ("langchain_google_genai.ChatGoogleGenerativeAI", "gemini-2.5-flash", GOOGLE),
    "mistral": ("langchain_mistralai.ChatMistralAI", "mistral-small-latest", MISTRAL),
    "bedrock": ("langchain_aws.ChatBedrockConverse", "anthropic.claude-3-haiku-20240307-v1:0", BEDROCK),
}


def made(client: str, url: str, **options: Any) -> Any:
    """A client for the server."""
    path, model, _ = LANGCHAIN[client]
    package, _, name = path.rpartition(".")
    kind = getattr(pytest.importorskip(package), name)
    given: dict[str, Any] = {"model": model, "max_retries": 0}
    if client == "bedrock":
        given |= {"client": clients._aws(url), "bedrock_client": object(), "region_name": "us-east-1", "provider": "anthropic"}
    else:
        given |= {"base_url": url if client in ("anthropic", "google") else f"{url}/v1", "api_key": "k"}
    if client == "google":
        given["google_api_key"] = given.pop("api_key")
    if client == "responses":
        given["use_responses_api"] = True
    if client == "anthropic":
        given["max_tokens"] = 100
    return kind(**{**given, **options})


def ways(client: str) -> dict[str, Asked]:
    """Every way of asking a client that is compared."""
    found = {"plain": Asked(), "again": Asked(), "traced": Asked(config={"run_name": "x", "tags": ["y"], "metadata": {"z": 1}})}
    found |= {"async": Asked(how="async"), "bound nothing": Asked(bound={"temperature": None})}
    for name, values in LANGCHAIN[client][2].items():
        for value in values:
            label = f"{name}={value}"
            found[f"{label} given"] = Asked(given={name: value})
            found[f"{label} bound"] = Asked(bound={name: value})
            found[f"{label} called"] = Asked(options={name: value})
            if len(values) > 1:
                found[f"{label} instead"] = Asked(given={name: next(each for each in values if each != value)}, bound={name: value})
            found[f"{label} changed"] = Asked(changed={"model_name" if name == "model" else name: value})
    for name, each in tools().items():
        found[f"tool {name}"] = Asked(tool=each)
    found["tool must be called"] = Asked(tool=tools()["look"], tool_choice="any")
    for name, schema in schemas().items():
        for method in ("function_calling", "json_schema", "json_mode"):
            found[f"{method} {name}"] = Asked(schema=schema, method=method)
        found[f"schema {name}"] = Asked(schema=schema)
    call = AIMessage("", tool_calls=[{"name": "look", "args": {"city": "Rome"}, "id": "call_1"}])
    conversations: dict[str, Any] = {
        "other": "Ho", "system": [SystemMessage("Be brief."), HumanMessage("Hi")],
        "developer": [SystemMessage("Be brief.", additional_kwargs={"__openai_role__": "developer"}), HumanMessage("Hi")],
        "named": [HumanMessage("Hi", name="ada")], "role": [ChatMessage("Hi", role="user")],
        "picture": [HumanMessage([{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}])],
        "other picture": [HumanMessage([{"type": "image_url", "image_url": {"url": "data:image/png;base64,BBBB"}}])],
        "history": [HumanMessage("Hi"), AIMessage("Hello"), HumanMessage("Hi")],
        "other history": [HumanMessage("Hi"), AIMessage("Good day"), HumanMessage("Hi")],
        "result": [HumanMessage("Hi"), call, ToolMessage("sunny", tool_call_id="call_1")],
        "other result": [HumanMessage("Hi"), call, ToolMessage("rainy", tool_call_id="call_1")],
        "failed result": [HumanMessage("Hi"), call, ToolMessage("sunny", tool_call_id="call_1", status="error")],
    }  # fmt: skip
    return found | {f"messages {name}": Asked(messages=messages) for name, messages in conversations.items()}


def ask(door: str, model: Any, thrift: Thrift, asked: Asked) -> None:
    """Ask a model through a door."""
    if door == "thrifty":
        dressed = lc.thrifty(model, thrift)
    else:
        dressed = model
        model.cache = lc.ThriftCache(thrift)
    for name, value in asked.changed.items():
        setattr(model, name, value)
    runnable = dressed
    if asked.tool is not None:
        runnable = dressed.bind_tools([asked.tool], **({} if asked.tool_choice is None else {"tool_choice": asked.tool_choice}))
    if asked.schema is not None:
        method = {} if asked.method is None else {"method": asked.method}
        runnable = dressed.with_structured_output(asked.schema, include_raw=True, **method)
    if asked.bound:
        runnable = runnable.bind(**asked.bound)
    if asked.how == "async":
        _LOOP.run(runnable.ainvoke(asked.messages, asked.config, **asked.options), context=copy_context())
    elif asked.how == "stream":
        list(runnable.stream(asked.messages, asked.config, **asked.options))
    else:
        runnable.invoke(asked.messages, asked.config, **asked.options)


def cases_of(client: str, door: str, server: Wire, thrift: Thrift) -> list[Case]:
    keys, base = Keys(thrift), made(client, server.url)

    def asking(asked: Asked) -> None:
        model = made(client, server.url, **asked.given) if asked.given else base.model_copy()
        ask(door, model, thrift, asked)

    return [called(name, lambda asked=asked: asking(asked), server, keys) for name, asked in ways(client).items()]


_PLACES = (" given", " bound", " called", " instead", " changed")
# Fields and arguments that say the same in every client, wherever they are given.
_ANYWHERE = (
    "temperature",
    "top_p",
    "top_k",
    "seed",
    "logit_bias",
    "presence_penalty",
    "n",
    "reasoning_effort",
    "service_tier",
    "extra_body",
)
_NOTHING = ("plain", "again", "traced", "async", "bound nothing", "timeout", "max_retries", "metadata")


def _group(name: str) -> str:
    """What a call asks for, without the place where it says so."""
    option = name.partition("=")[0]
    if option in _NOTHING:
        return "plain"
    if option in _ANYWHERE:
        return next(name.removesuffix(place) for place in _PLACES if name.endswith(place))
    return name.replace("the same ", "")


def check(cases: list[Case], *, at_least: int) -> None:
    """No key is shared by calls that send something else; and calls that mean and send the same share theirs."""
    wrong, missed = compared(cases)
    assert wrong == []
    assert [pair for pair in missed if _group(pair[0]) == _group(pair[1])] == []
    assert len({case.sent for case in cases}) >= at_least
    assert [case.name for case in cases if case.sent != "[]" and not case.key] == []


@pytest.mark.parametrize(
    ("client", "door"), [*((client, "cache") for client in LANGCHAIN), ("openai", "thrifty"), ("anthropic", "thrifty")]
)
def test_calls_of_a_langchain_client_share_a_key_only_if_they_send_the_same(thrift: Thrift, server: Wire, client: str, door: str) -> None:
    check(cases_of(client, door, server, thrift), at_least=30)


@pytest.mark.parametrize("client", LANGCHAIN)
def test_a_stream_and_a_coroutine_have_the_key_of_the_whole_answer(thrift: Thrift, server: Wire, client: str) -> None:
    keys, base = Keys(thrift), made(client, server.url)
    found = [
        called(text, lambda text=text, how=how: ask("thrifty", base.model_copy(), thrift, Asked(messages=text, how=how)), server, keys)
        for text in ("Hi", "Ho")
        for how in ("whole", "async", "stream")
    ]
    assert [len({case.key for case in found if case.name == text}) for text in ("Hi", "Ho")] == [1, 1]
    assert found[0].key != found[-1].key
    assert all(case.key and case.sent != "[]" for case in found)


def test_a_completion_models_calls_share_a_key_only_if_they_send_the_same(thrift: Thrift, server: Wire) -> None:
    from langchain_openai import OpenAI

    keys, options = Keys(thrift), {name: values for name, values in OPENAI.items() if name not in ("max_retries", "metadata")}
    given: dict[str, Any] = {"model": "gpt-3.5-turbo-instruct", "base_url": f"{server.url}/v1", "api_key": "k", "max_retries": 0}

    def asking(made_of: Mapping[str, Any], bound: Mapping[str, Any], changed: Mapping[str, Any]) -> None:
        model = OpenAI(**{**given, "cache": lc.ThriftCache(thrift), **made_of})
        for name, value in changed.items():
            setattr(model, name, value)
        model.bind(**bound).invoke("Hi")

    cases = [called("plain", lambda: asking({}, {}, {}), server, keys), called("again", lambda: asking({}, {}, {}), server, keys)]
    for name, values in options.items():
        for value in values:
            for place, given_there in enumerate((" given", " bound", " changed")):
                three = [{}, {}, {}]
                three[place] = {"model_name" if name == "model" and place == 2 else name: value}
                cases.append(called(f"{name}={value}{given_there}", lambda three=three: asking(*three), server, keys))
    check(cases, at_least=15)


# --- LlamaIndex ---

LLAMA: dict[str, tuple[str, str, dict[str, list[Any]]]] = {
    "openai": ("llama_index.llms.openai.OpenAI", "gpt-4o-mini", {
        "temperature": [0.1, 0.2], "max_tokens": [5, 6], "logprobs": [True], "model": ["gpt-4o"], "reasoning_effort": ["low"],
        "additional_kwargs": [{"seed": 1}, {"seed": 2}], "default_headers": [{"X-Candidate": "a"}], "seed": [1, 2], "stop": [["x"]],
        "logit_bias": [{"5": 1}], "extra_body": [{"a": 1}, {"a": 2}], "extra_headers": [{"X-Candidate": "a"}], "timeout": [20.0],
        "response_format": [{"type": "json_object"}],
    }),
    "responses": ("llama_index.llms.openai.OpenAIResponses", "gpt-4o-mini", {
        "temperature": [0.1, 0.2], "max_output_tokens": [5, 6], "top_p": [0.5], "instructions": ["Be brief.", "Be long."],
        "reasoning_options": [{"effort": "low"}], "previous_response_id": ["r1", "r2"], "additional_kwargs": [{"extra_body": {"a": 1}}],
        "built_in_tools": [[{"type": "web_search"}]], "store": [True], "user": ["ada"], "timeout": [20.0],
    }),
    "anthropic": ("llama_index.llms.anthropic.Anthropic", "claude-haiku-4-5", {
        "temperature": [0.1, 0.2], "max_tokens": [5, 6], "thinking_dict": [{"type": "enabled", "budget_tokens": 1024}],
        "additional_kwargs": [{"top_k": 3}, {"top_k": 4}], "top_k": [3], "stop_sequences": [["x"]],
    }),
    "mistral": ("llama_index.llms.mistralai.MistralAI", "mistral-small-latest", {
        "temperature": [0.1, 0.2], "max_tokens": [5, 6], "random_seed": [1, 2], "safe_mode": [True], "additional_kwargs": [{"top_p": 0.5}],
    }),
    "google": ("llama_index.llms.google_genai.GoogleGenAI", "gemini-2.5-flash", {
        "temperature": [0.1, 0.2], "max_tokens": [5, 6], "generation_config": [{"seed": 1}, {"seed": 2}],
    }),
    "bedrock": ("llama_index.llms.bedrock_converse.BedrockConverse", "anthropic.claude-3-haiku-20240307-v1:0", {
        "temperature": [0.1, 0.2], "max_tokens": [5, 6], "additional_kwargs": [{"topP": 0.5}], "system_prompt_caching": [True],
    }),
    "litellm": ("llama_index.llms.litellm.LiteLLM", "openai/gpt-4o-mini", {
        "temperature": [0.1, 0.2], "max_tokens": [5, 6], "additional_kwargs": [{"seed": 1}, {"seed": 2}], "seed": [1, 2],
    }),
}  # fmt: skip


def made_llama(client: str, url: str, **options: Any) -> Any:
    """A LlamaIndex client for the server."""
    path, model, _ = LLAMA[client]
    package, _, name = path.rpartition(".")
    kind = getattr(pytest.importorskip(package), name)
    given: dict[str, Any] = {"model": model}
    if client in ("openai", "responses", "litellm"):
        given |= {"api_base": f"{url}/v1", "api_key": "k", "max_retries": 0}
    elif client == "anthropic":
        given |= {"base_url": url, "api_key": "k", "max_retries": 0, "max_tokens": 100}
    elif client == "mistral":
        given |= {"endpoint": url, "api_key": "k", "max_retries": 0}
    elif client == "google":
        given |= {"api_key": "k", "context_window": 100_000, "max_tokens": 1_000, "http_options": {"base_url": url}, "max_retries": 0}
    else:
        given |= {"client": clients._aws(url), "region_name": "us-east-1", "aws_access_key_id": "x", "aws_secret_access_key": "x"}
    return kind(**{**given, **options})


def _said(*messages: tuple[str, Any]) -> list[LlamaMessage]:
    return [
        LlamaMessage(role=role, content=content) if isinstance(content, str) else LlamaMessage(role=role, blocks=content)
        for role, content in messages
    ]


CONVERSATIONS = {
    "plain": _said(("user", "Hi")), "again": _said(("user", "Hi")), "other": _said(("user", "Ho")),
    "system": _said(("system", "Be brief."), ("user", "Hi")), "developer": _said(("developer", "Be brief."), ("user", "Hi")),
    "history": _said(("user", "Hi"), ("assistant", "Hello"), ("user", "Hi")),
    "other history": _said(("user", "Hi"), ("assistant", "Good day"), ("user", "Hi")),
    "picture": _said(("user", [TextBlock(text="Hi"), ImageBlock(image=b"aaaa", image_mimetype="image/png")])),
    "other picture": _said(("user", [TextBlock(text="Hi"), ImageBlock(image=b"bbbb", image_mimetype="image/png")])),
    "picture's address": _said(("user", [TextBlock(text="Hi"), ImageBlock(url="http://127.0.0.1:1/a.png", image_mimetype="image/png")])),
    "other address": _said(("user", [TextBlock(text="Hi"), ImageBlock(url="http://127.0.0.1:1/b.png", image_mimetype="image/png")])),
}  # fmt: skip


@pytest.mark.parametrize("client", LLAMA)
def test_calls_of_a_llamaindex_client_share_a_key_only_if_they_send_the_same(thrift: Thrift, server: Wire, client: str) -> None:
    keys, base = Keys(thrift), made_llama(client, server.url)
    cases: list[Case] = []

    def add(name: str, call: Callable[[Any], Any], **given: Any) -> None:
        def asking() -> None:
            model = made_llama(client, server.url, **given) if given else base.model_copy()
            call(li.thrifty(model, thrift))

        cases.append(called(name, asking, server, keys))

    def changed(name: str, value: Any) -> Callable[[Any], Any]:
        def call(llm: Any) -> None:
            setattr(llm, name, value)
            llm.chat(CONVERSATIONS["plain"])

        return call

    for name, messages in CONVERSATIONS.items():
        add(name if name in _NOTHING else f"messages {name}", lambda llm, messages=messages: llm.chat(messages))
    for option, values in LLAMA[client][2].items():
        for value in values:
            add(f"{option}={value} given", lambda llm: llm.chat(CONVERSATIONS["plain"]), **{option: value})
            add(f"{option}={value} called", lambda llm, one={option: value}: llm.chat(CONVERSATIONS["plain"], **one))
            add(f"{option}={value} changed", changed(option, value))
    add("temperature unset", lambda llm: llm.chat(CONVERSATIONS["plain"], temperature=None), temperature=0.1)
    for name, schema in schemas().items():
        if "pydantic" in name:
            add(f"schema {name}", lambda llm, schema=schema: llm.structured_predict(schema, PromptTemplate("Hi")))
    for name, function in functions().items():
        use = [FunctionTool.from_defaults(function, name="look")]
        add(f"tool {name}", lambda llm, use=use: llm.chat_with_tools(use, "Hi"))
    wrong, missed = compared(cases)
    assert wrong == []
    assert [pair for pair in missed if all(map(_says_nothing, pair))] == []
    assert len({case.sent for case in cases}) >= 12


def _says_nothing(name: str) -> bool:
    """Whether a call asks for nothing beside its message."""
    return name.partition("=")[0] in _NOTHING


def functions() -> dict[str, Callable[..., str]]:
    """Functions for tools of one name, which differ in their description or arguments."""

    def look(city: str) -> str:
        """Look at a city."""
        return city

    def again(city: str) -> str:
        """Look at a town."""
        return city

    def further(city: str, far: bool) -> str:
        """Look at a city."""
        return city

    return {"look": look, "look again": again, "look further": further}
