"""A date first, and a date last."""
from datetime import datetime
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI

llm = ChatOpenAI(model="gpt-4o", max_tokens=300)
RULES = "You are a careful clerk of a shop. Answer from the price list alone, and in one sentence. " * 20


def first(question):
    now = datetime.now().isoformat()  # expect: volatile-prefix
    return llm.invoke([SystemMessage(f"It is {now}. {RULES}"), HumanMessage(question)])


def last(question):
    return llm.invoke([SystemMessage(RULES), HumanMessage(f"It is {datetime.now()}. {question}")])
