"""A limit in a dataclass of settings."""
from dataclasses import dataclass
from openai import OpenAI


@dataclass
class Config:
    model: str = "gpt-4o"
    max_tokens: int = 100


config = Config()
OpenAI().chat.completions.create(model=config.model, max_tokens=config.max_tokens, messages=[])
OpenAI().chat.completions.create(model=config.model, messages=[])  # expect: no-output-limit
