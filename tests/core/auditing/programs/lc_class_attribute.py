"""A model in a class attribute, and one in __init__."""
from langchain_anthropic import ChatAnthropic
from langchain_openai import ChatOpenAI


class Assistant:
    model = ChatOpenAI(model="gpt-4o")  # expect: no-output-limit

    def __init__(self) -> None:
        self.strong = ChatAnthropic(model="claude-sonnet-4-5", max_tokens=512)

    def answer(self, question: str) -> str:
        return self.model.invoke(question).content + self.strong.invoke(question).content
