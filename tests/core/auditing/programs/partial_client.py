"""A partial of a plain client's method."""
from functools import partial
from openai import OpenAI

ask = partial(OpenAI().chat.completions.create, model="gpt-4o", max_tokens=60)
long = partial(OpenAI().chat.completions.create, model="gpt-4o")
print(ask(messages=[]))
print(long(messages=[]))  # expect: no-output-limit
