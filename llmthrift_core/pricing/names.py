"""Model names as they arrive in the wild, and how the price lists spell them.

| arrives as | is read as |
|---|---|
| `openai/gpt-4o`, `openai:gpt-4o`, `openrouter/anthropic/claude-sonnet-4.5` | the provider before the separator, if it is one |
| `models/gemini-2.5-pro`, `projects/.../publishers/google/models/...` | Google's |
| `claude-sonnet-4@20250514` | Vertex AI's spelling: Google's price |
| `us.anthropic.claude-...-v1:0`, `arn:aws:bedrock:...` | Amazon Bedrock's |
| `accounts/fireworks/models/...` | Fireworks' |
| `qwen-plus`, `glm-4.6`, `sonar` | their makers' |
| `qwen/qwen3-max`, `openai/gpt-4o:batch` | OpenRouter's, where no maker's price holds (see `resold`) |
| `ft:gpt-4o-mini-2024-07-18:org::id` | the fine-tuned price of its base model; never the base model's own |

Dated snapshots are left to the price lists, which know which snapshot costs what.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from llmthrift_core.usage.payloads import provider_id

Reading = tuple[str | None, str]
"""A provider, or None for whoever makes the model, and the name to look for there."""

_MAKERS = "ai21|amazon|anthropic|cohere|deepseek|google|luma|meta|minimax|mistral|moonshot|moonshotai|nvidia|openai|qwen|stability|"
_BEDROCK = re.compile(rf"(?:[a-z]{{2,6}}(?:-gov)?\.)?(?:{_MAKERS}twelvelabs|writer|zai)\.[a-z0-9-]+", re.IGNORECASE)
# Names of whose maker genai-prices asks to be told.
_MADE_BY = (
    (("text-embedding-3-", "text-embedding-ada-", "chatgpt-", "codex-", "computer-use-", "davinci-", "babbage-"), "openai"),
    (("embed-", "rerank-"), "cohere"),
    (("text-embedding-0", "gemma-"), "google"),
    (("qwen",), "dashscope"),
    (("glm-",), "zai"),
    (("sonar",), "perplexity"),
)
_DATE = re.compile(r"[-@]20\d{2}-?(?:0[1-9]|1[0-2])-?(?:0[1-9]|[12]\d|3[01])(?:-v\d+(?::\d+)?)?$")
# Their own APIs take no prefix: under these providers `openai/gpt-4o` was served by a gateway, whose price is not known.
_TAKE_NO_PREFIX = frozenset({"openai", "anthropic", "google"})


def readings(model: str, provider: str | None, is_provider: Callable[[str], bool]) -> list[Reading]:
    """What to look for, the most literal first.

    Args:
        model: the name as it arrived.
        provider: the provider's identifier; None reads it off the name.
        is_provider: does any price list know this identifier?
    """
    name = model.strip()
    if provider is None:
        provider, name = _provider_of(name, is_provider)
    found: list[Reading] = [(provider, name)]
    for spelling in _spellings(provider, name):
        if (reading := (provider, spelling)) not in found:
            found.append(reading)
    if provider == "google" and "@" in name:
        found.append((None, name.replace("@", "-")))
    return found


def resold(model: str) -> Reading | None:
    """OpenRouter's reading of a name without a provider: its identifiers are `maker/model`, in lower case.

    Names in the makers' own case, such as `Qwen/Qwen2.5-7B-Instruct`, are those of open weights, which anybody may run.

    >>> resold("qwen/qwen3-max"), resold("Qwen/Qwen3-32B"), resold("gpt-4o")
    (('openrouter', 'qwen/qwen3-max'), None, None)
    """
    name = model.strip()
    return ("openrouter", name) if "/" in name and name == name.lower() else None


def is_variant(name: str) -> bool:
    """Whether this is a name of OpenRouter's for one way to run a model, which has a price of its own: `:free`, `:batch`.

    >>> is_variant("deepseek/deepseek-r1:free"), is_variant("openai/gpt-4o"), is_variant("openai/ft:gpt-4o:org::id")
    (True, False, False)
    """
    _, slash, rest = name.rpartition("/")
    return bool(slash) and rest.count(":") == 1 and not is_fine_tune(name)


def is_fine_tune(name: str) -> bool:
    """Is this a model that somebody trained further, which costs more than the model it came from?"""
    lowered = name.lower()
    return lowered.startswith("ft:") or "/ft:" in lowered or ".ft-" in lowered or "tunedmodels/" in lowered


def without_date(name: str) -> str:
    """The name without the date of its snapshot.

    >>> without_date("gpt-4o-2024-08-06"), without_date("claude-sonnet-4@20250514"), without_date("gpt-4o")
    ('gpt-4o', 'claude-sonnet-4', 'gpt-4o')
    """
    return _DATE.sub("", name)


def _provider_of(name: str, is_provider: Callable[[str], bool]) -> Reading:
    lowered = name.lower()
    if lowered.startswith("ft:"):
        return "openai", name
    if lowered.startswith("arn:aws"):
        return "aws", name
    if lowered.startswith("accounts/fireworks/"):
        return "fireworks", name
    if lowered.startswith(("models/", "publishers/", "projects/", "tunedmodels/")):
        return "google", name
    for separator in ("/", ":"):
        head, found, rest = name.partition(separator)
        if found and rest and "." not in head and is_provider(provider := provider_id(head)):
            return provider, rest
    if _BEDROCK.match(name):
        return "aws", name
    if "@" in name.lstrip("@") and "/" not in name:
        return "google", name
    for starts, maker in _MADE_BY:
        if lowered.startswith(starts) and "/" not in name:
            return maker, name
    return None, name


def _spellings(provider: str | None, name: str) -> list[str]:
    found: list[str] = []
    if name.lower().startswith("ft:"):
        found.append(":".join(name.split(":")[:2]))
    if provider == "google" and "models/" in name:
        found.append(name.rpartition("models/")[2])
    elif provider == "aws" and "/" in name:  # an ARN, or litellm's bedrock/us-east-1/...
        found.append(name.rpartition("/")[2])
    elif provider is not None and provider not in _TAKE_NO_PREFIX:
        head, separator, rest = name.partition("/")
        if separator and provider_id(head) == provider:
            found.append(rest)
    return found
