"""A loop until the answer parses, and one with a deadline of tries."""
import json
from langchain_openai import ChatOpenAI

llm = ChatOpenAI(model="gpt-4o", max_tokens=300)


def forever(text):
    while True:  # expect: loop-without-budget
        try:
            return json.loads(llm.invoke(text).content)
        except ValueError:
            continue


def thrice(text):
    for _ in range(3):
        try:
            return json.loads(llm.invoke(text).content)
        except ValueError:
            pass
