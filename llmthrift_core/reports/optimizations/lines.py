"""The lines of code that take an opportunity. They run as they are, where `thrift` is open, `model` is a chat model of LangChain, and `llm`
an LLM of LlamaIndex; `cheaper` is another of the same kind."""

from __future__ import annotations

import json
from typing import Final


def _both(langchain: str, llamaindex: str) -> str:
    return f"# LangChain\n{langchain}\n# LlamaIndex\n{llamaindex}"


def _doors(option: str, *, imports: str = "") -> str:
    """`thrifty` of both frameworks, with an option."""
    return imports + _both(
        f"from llmthrift_langchain import thrifty\nmodel = thrifty(model, thrift, {option})",
        f"from llmthrift_llamaindex import thrifty\nllm = thrifty(llm, thrift, {option})",
    )


def _routers(options: str = "", *, imports: str = "") -> str:
    """A router of two models of both frameworks, with options."""
    return imports + _both(
        f'from llmthrift_langchain import ChatRouter\nmodel = ChatRouter(thrift, models={{"small": cheaper, "large": model}}{options})',
        f'from llmthrift_llamaindex import RouterLLM\nllm = RouterLLM(thrift, models={{"small": cheaper, "large": llm}}{options})',
    )


CACHE: Final = _both(
    "from llmthrift_langchain import ThriftCache, thrifty\n"
    "model = thrifty(model, thrift, cache=ThriftCache(thrift, semantic=True))  # what repeats, and what means the same",
    "from llmthrift_llamaindex import thrifty\nllm = thrifty(llm, thrift, semantic=True)",
)
ROUTER: Final = _routers()
CASCADE: Final = _routers(
    ', policy=Cascade(["small", "large"], threshold=0.6)',
    imports="from llmthrift_core.routing import Cascade  # .fit(thrift.examples()) learns what may be kept from judged answers\n",
)
FALLBACKS: Final = 'print(thrift.report(by="model"))  # whose calls fail, and what that costs\n' + _routers(
    ', fallbacks=FallbackChain(["small"], max_usd=0.01)', imports="from llmthrift_core.routing import FallbackChain\n"
)
RETRIES: Final = (
    'print(thrift.report(by="model"))  # whose calls fail, and what that costs\n'
    "# then in both frameworks' clients: max_retries=2, timeout=20, which backs off and comes to an end"
)
PREFIXES: Final = _doors("prompt_caching=True", imports="# what changes (dates, names, ids) belongs behind the fixed part of the prompt\n")
SHORTER: Final = "print(thrift.anatomy())  # what the prompts consist of, and what can be spared\n" + _doors(
    "shorten=Shorten.lossless()", imports="from llmthrift_core.prompts import Shorten\n"
)
TOOLS: Final = "print(thrift.anatomy())  # names the tools that no call used, with what they cost: bind those that may be needed"
REASONING: Final = _doors(
    'output=OutputLimits(effort="low", headroom_tokens=4_000)',  # room for the reasoning and the answer
    imports="from llmthrift_core.prompts import OutputLimits  # room for both, and a second try where an answer is empty\n",
)
UNSHORTENED: Final = (
    "from llmthrift_core.prompts import Shorten\nfrom llmthrift_core.quality import ShorteningGuard\n"
    "guarded = ShorteningGuard(Shorten.lossless(), thrift)  # your policy in its place: it is switched off where answers get worse\n"
) + _doors("shorten=guarded")


def capped(tokens: int) -> str:
    """A limit of an answer."""
    return _both(f"model = model.bind(max_tokens={tokens})", f"llm = llm.model_copy(update={{'max_tokens': {tokens}}})")


def remedied(remedy: str) -> str:
    """What is to be done about prompts that were not read from a provider's cache."""
    return f"print(thrift.prefix_misses())  # by reason and call site\n# {remedy}"


def entries(namespace: str) -> str:
    """A look at a cache."""
    why = "# what makes each question another one: a date, an id, a name?"
    return f"{why}\nfor entry in thrift.cache.entries({quoted(namespace)}):\n    print(entry)"


def asked_where() -> str:
    """Where models are asked."""
    return 'print(thrift.report(by="call_site"))  # where it is asked; if it is still sold, thrift.prices.override gives it a price'


def on_another(model: str) -> str:
    """What all would cost on another model."""
    return f"print(thrift.savings(baseline={quoted(model)}))  # what all of this would cost on it, beside what it did"


def sold_elsewhere(model: str, seller: str) -> str:
    """A model at another seller."""
    return (
        "from langchain_openai import ChatOpenAI\nfrom llmthrift_langchain import ChatRouter\n"
        f'there = ChatOpenAI(model={quoted(model)}, base_url="https://...", api_key="...")  # the address and key of {seller}\n'
        'model = ChatRouter(thrift, models={"one": [model, there]})  # the cheapest of them answers; RouterLLM takes a list too'
    )


def quoted(name: str) -> str:
    """A name as a string of Python, on one line."""
    return json.dumps(name, ensure_ascii=False)
