"""Ways of asking a client, drawn at random: the same said by other fields and arguments, and what differs in one of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

import pytest
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, ChatMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from llama_index.core.base.llms.types import DocumentBlock, ImageBlock, TextBlock
from llama_index.core.llms import ChatMessage as LlamaMessage
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from tests.contracts import test_usage as clients

Pools = Mapping[str, list[Any]]
GIVEN, BOUND, CALLED, INSTEAD, CHANGED, UNSAID = "given", "bound", "called", "instead", "changed", "unsaid"
CHAT_PLACES: Final = (GIVEN, BOUND, CALLED, INSTEAD, CHANGED, UNSAID)
LLAMA_PLACES: Final = (GIVEN, CALLED, CHANGED)


@dataclass(frozen=True)
class Said:
    """An option with its value, and where it is said.

    Attributes:
        place: an argument of the constructor, of `bind`, of the call; of `bind` over another one of the constructor; a field that is set
            on the instance; or None in `bind` over one of the constructor.
    """

    name: str
    value: Any
    place: str
    other: Any = None

    def __repr__(self) -> str:
        return f"{self.name}={self.value!r} {self.place}"


@dataclass(frozen=True)
class Asked:
    """A way of asking.

    Attributes:
        conversation, shape: names of what is said, and of the tool or schema that is asked for.
        traced: with a run's name, tags and metadata.
        how: "whole", "async" or "stream".
    """

    said: tuple[Said, ...] = ()
    conversation: str = "plain"
    shape: str = ""
    traced: bool = False
    how: str = "whole"

    def of(self, *places: str) -> dict[str, Any]:
        """The options that are said in these places."""
        return {each.name: each.value for each in self.said if each.place in places}

    @property
    def constructed(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        return self.of(GIVEN, UNSAID) | {each.name: each.other for each in self.said if each.place == INSTEAD}

    @property
    def bound(self) -> dict[str, Any]:
        """Arguments of `bind`."""
        return self.of(BOUND, INSTEAD) | {each.name: None for each in self.said if each.place == UNSAID}


@st.composite
def ways(
    draw: st.DrawFn, pools: Pools, places: tuple[str, ...], conversations: list[str], shapes: list[str], hows: list[str]
) -> list[Asked]:
    """A request, the same said otherwise, and one that may differ in a value, in what is said or in a shape."""
    names = draw(st.lists(st.sampled_from(sorted(pools)), max_size=3, unique=True))
    values = {name: draw(st.sampled_from(pools[name])) for name in names}
    conversation, shape = draw(st.sampled_from(["plain", "plain", *conversations])), draw(st.sampled_from(["", "", *shapes]))

    def said(chosen: Mapping[str, Any]) -> tuple[Said, ...]:
        found = []
        for name, value in chosen.items():
            place = draw(st.sampled_from(places))
            others = [each for each in pools[name] if each != value]
            if place == INSTEAD and not others:
                place = BOUND
            found.append(Said(name, value, place, draw(st.sampled_from(others)) if place == INSTEAD else None))
        return tuple(found)

    def asked(chosen: Mapping[str, Any], conversation: str, shape: str) -> Asked:
        return Asked(said(chosen), conversation, shape, draw(st.booleans()), draw(st.sampled_from(hows)))

    changed, told, shaped = dict(values), conversation, shape
    match draw(st.sampled_from(["value", "value", "conversation", "shape", "more"])):
        case "value" if names:
            name = draw(st.sampled_from(names))
            changed[name] = draw(st.sampled_from(pools[name]))
        case "conversation":
            told = draw(st.sampled_from(conversations))
        case "shape":
            shaped = draw(st.sampled_from(shapes))
        case _:
            name = draw(st.sampled_from(sorted(pools)))
            changed[name] = draw(st.sampled_from(pools[name]))
    return [asked(values, conversation, shape), asked(values, conversation, shape), asked(changed, told, shaped)]


# --- schemas and tools that look alike ---


def schemas() -> dict[str, Any]:
    """Schemas of one qualified name, which differ in a field, a description, or their own name."""

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

    @dataclass
    class CityData:
        """A city."""

        name: str

    @dataclass
    class LargeData:
        """A city."""

        name: str
        people: int

    ToldDict.__name__ = ToldDict.__qualname__ = CityDict.__name__
    LargeData.__name__ = LargeData.__qualname__ = CityData.__name__
    plain = {"title": "City", "description": "A city.", "type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    return {
        "pydantic": one(), "pydantic again": one(), "other pydantic": other(), "told pydantic": told(), "typed": CityDict,
        "told typed": ToldDict, "data": CityData, "large data": LargeData, "plain": plain, "other plain": {**plain, "title": "Town"},
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


def functions() -> dict[str, Callable[..., str]]:
    """The same as functions, for LlamaIndex."""
    return {name: each.func for name, each in tools().items()}


METHODS: Final = ("function_calling", "json_schema", "json_mode")
SCHEMAS: Final = [f"{method} {name}" for name in schemas() for method in METHODS]
TOOLS: Final = ["tool look", "tool look again", "tool look further", "tool that must be called"]
LLAMA_SHAPES: Final = ["schema pydantic", "schema pydantic again", "schema other pydantic", "schema told pydantic", *TOOLS[:3]]


# --- conversations ---


def conversations() -> dict[str, Any]:
    """What is said to LangChain's models, by name."""
    call = AIMessage("", tool_calls=[{"name": "look", "args": {"city": "Rome"}, "id": "call_1"}])
    result = ToolMessage("sunny", tool_call_id="call_1")
    return {
        "plain": "Hi", "other": "Ho", "system": [SystemMessage("Be brief."), HumanMessage("Hi")],
        "developer": [SystemMessage("Be brief.", additional_kwargs={"__openai_role__": "developer"}), HumanMessage("Hi")],
        "named": [HumanMessage("Hi", name="ada")], "role": [ChatMessage("Hi", role="user")],
        "picture": [HumanMessage([{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}])],
        "other picture": [HumanMessage([{"type": "image_url", "image_url": {"url": "data:image/png;base64,BBBB"}}])],
        "history": [HumanMessage("Hi"), AIMessage("Hello"), HumanMessage("Hi")],
        "other history": [HumanMessage("Hi"), AIMessage("Good day"), HumanMessage("Hi")],
        "result": [HumanMessage("Hi"), call, result],
        "other result": [HumanMessage("Hi"), call, ToolMessage("rainy", tool_call_id="call_1")],
        "failed result": [HumanMessage("Hi"), call, ToolMessage("sunny", tool_call_id="call_1", status="error")],
    }  # fmt: skip


def _said(*messages: tuple[str, Any]) -> list[LlamaMessage]:
    return [
        LlamaMessage(role=role, content=content) if isinstance(content, str) else LlamaMessage(role=role, blocks=content)
        for role, content in messages
    ]


def _shown(**picture: Any) -> list[LlamaMessage]:
    return _said(("user", [TextBlock(text="Hi"), ImageBlock(image_mimetype="image/png", **picture)]))


def llama_conversations() -> dict[str, list[LlamaMessage]]:
    """The same, for LlamaIndex's."""
    return {
        "plain": _said(("user", "Hi")), "other": _said(("user", "Ho")), "system": _said(("system", "Be brief."), ("user", "Hi")),
        "developer": _said(("developer", "Be brief."), ("user", "Hi")),
        "history": _said(("user", "Hi"), ("assistant", "Hello"), ("user", "Hi")),
        "other history": _said(("user", "Hi"), ("assistant", "Good day"), ("user", "Hi")),
        "picture": _shown(image=b"aaaa"), "other picture": _shown(image=b"bbbb"), "large picture": _shown(image=b"aaaa", detail="high"),
        "picture's address": _shown(url="http://127.0.0.1:1/a.png"), "other address": _shown(url="http://127.0.0.1:1/b.png"),
        "document": _said(("user", [TextBlock(text="Hi"), DocumentBlock(data=b"aaaa", document_mimetype="application/pdf", title="a")])),
    }  # fmt: skip


# --- clients ---

_SAMPLING: Final[Pools] = {"temperature": [0.1, 0.2], "top_p": [0.5], "stop": [["x"], ["y"]]}
OPENAI: Final[Pools] = {
    **_SAMPLING, "seed": [1, 2], "n": [2], "logit_bias": [{"5": 1}, {"5": 2}], "presence_penalty": [0.5], "max_tokens": [5, 6],
    "model_kwargs": [{"user": "a"}, {"user": "b"}], "extra_body": [{"a": 1}, {"a": 2}], "default_headers": [{"X-Candidate": "a"}],
    "reasoning_effort": ["low"], "service_tier": ["flex"], "logprobs": [True], "extra_headers": [{"X-Candidate": "a"}],
    "response_format": [{"type": "json_object"}], "parallel_tool_calls": [False], "model": ["gpt-4o", "o3"], "timeout": [20],
    "max_retries": [0], "metadata": [{"a": "b"}], "user": ["ada"],
}  # fmt: skip
_ANTHROPIC: Final[Pools] = {
    "temperature": [0.1, 0.2], "top_k": [3], "stop": [["x"]], "stop_sequences": [["x"], ["y"]], "max_tokens": [5, 6],
    "thinking": [{"type": "enabled", "budget_tokens": 1024}], "model_kwargs": [{"metadata": {"user_id": "a"}}], "betas": [["b-1"], ["b-2"]],
    "default_headers": [{"X-Candidate": "a"}], "model": ["claude-opus-4-8"], "timeout": [20], "extra_headers": [{"X-Candidate": "a"}],
}  # fmt: skip
_GOOGLE: Final[Pools] = {
    "temperature": [0.1, 0.2], "top_p": [0.5], "top_k": [3], "stop": [["x"], ["y"]], "seed": [1, 2], "max_output_tokens": [5, 6],
    "thinking_budget": [0], "safety_settings": [{"HARM_CATEGORY_HATE_SPEECH": "BLOCK_NONE"}], "response_mime_type": ["application/json"],
    "additional_headers": [{"X-Candidate": "a"}], "model": ["gemini-2.5-pro"], "timeout": [20], "labels": [{"a": "b"}],
}  # fmt: skip
_MISTRAL: Final[Pools] = {
    **_SAMPLING, "random_seed": [1, 2], "max_tokens": [5], "model_kwargs": [{"safe_prompt": True}], "safe_prompt": [True], "model": ["m-2"],
}  # fmt: skip
_BEDROCK: Final[Pools] = {
    "temperature": [0.1, 0.2], "top_p": [0.5], "stop": [["x"], ["y"]], "stop_sequences": [["x"]], "max_tokens": [5, 6],
    "additional_model_request_fields": [{"a": 1}, {"a": 2}], "guardrail_config": [{"guardrailIdentifier": "g", "guardrailVersion": "1"}],
    "performance_config": [{"latency": "optimized"}], "request_metadata": [{"a": "b"}],
}  # fmt: skip
LANGCHAIN: Final[dict[str, tuple[str, str, Pools]]] = {
    "openai": ("langchain_openai.ChatOpenAI", "gpt-4o-mini", OPENAI),
    "responses": ("langchain_openai.ChatOpenAI", "gpt-4o-mini", OPENAI),
    "deepseek": ("langchain_deepseek.ChatDeepSeek", "deepseek-chat", OPENAI),
    "xai": ("langchain_xai.ChatXAI", "grok-4", {**OPENAI, "search_parameters": [{"mode": "on"}, {"mode": "off"}]}),
    "anthropic": ("langchain_anthropic.ChatAnthropic", "claude-haiku-4-5", _ANTHROPIC),
    "google": ("langchain_google_genai.ChatGoogleGenerativeAI", "gemini-2.5-flash", _GOOGLE),
    "mistral": ("langchain_mistralai.ChatMistralAI", "mistral-small-latest", _MISTRAL),
    "bedrock": ("langchain_aws.ChatBedrockConverse", "anthropic.claude-3-haiku-20240307-v1:0", _BEDROCK),
}
LLAMA: Final[dict[str, tuple[str, str, Pools]]] = {
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
        "default_headers": [{"X-Candidate": "a"}, {"X-Candidate": "b"}],
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


def _kind(path: str) -> Any:
    package, _, name = path.rpartition(".")
    return getattr(pytest.importorskip(package), name)


def made(client: str, url: str, **options: Any) -> Any:
    """A LangChain client for the server."""
    path, model, _ = LANGCHAIN[client]
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
    return _kind(path)(**{**given, **options})


def made_llama(client: str, url: str, **options: Any) -> Any:
    """A LlamaIndex client for the server."""
    path, model, _ = LLAMA[client]
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
    return _kind(path)(**{**given, **options})
