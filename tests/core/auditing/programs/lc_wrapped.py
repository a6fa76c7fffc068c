"""A helper that makes models."""
from langchain_openai import ChatOpenAI


def model_of(name: str, **options):
    return ChatOpenAI(model=name, **options)


def limited(name: str):
    return ChatOpenAI(model=name, max_completion_tokens=200)


print(model_of("gpt-4o", max_tokens=100).invoke("Hi"), limited("gpt-4o").invoke("Hi"))
