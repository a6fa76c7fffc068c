"""Settings in a dictionary."""
from langchain_openai import ChatOpenAI

SETTINGS = {"model": "gpt-4o", "max_tokens": 400}
LOOSE = {"model": "gpt-4o", "temperature": 0}
model = ChatOpenAI(**SETTINGS)
loose = ChatOpenAI(**LOOSE)  # expect: no-output-limit
print(model.invoke("Hi"), loose.invoke("Hi"))
