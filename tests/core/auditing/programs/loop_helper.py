"""A loop around a function of ours that calls a model."""
from openai import OpenAI

client = OpenAI()


def ask(text):
    return client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": text}], max_tokens=90)


def go(text):
    answer = ask(text)
    while "more" in answer.choices[0].message.content:  # expect: loop-without-budget
        answer = ask(answer.choices[0].message.content)
    return answer
