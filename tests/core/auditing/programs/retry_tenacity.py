"""Tries of a decorator around tries of a client."""
from openai import OpenAI
from tenacity import retry, stop_after_attempt

client = OpenAI(max_retries=5)


@retry(stop=stop_after_attempt(6))
def ask(text):
    return client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": text}], max_tokens=100)  # expect: worst-case-cost
