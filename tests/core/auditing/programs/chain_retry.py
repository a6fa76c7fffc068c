"""Retries of a chain with fallbacks, made in a function."""
from langchain_openai import ChatOpenAI


def chain():
    strong = ChatOpenAI(model="gpt-4o", max_tokens=100, max_retries=3)
    weak = ChatOpenAI(model="gpt-4o-mini", max_tokens=100, max_retries=3)
    return strong.with_fallbacks([weak]).with_retry(stop_after_attempt=4)  # expect: worst-case-cost
