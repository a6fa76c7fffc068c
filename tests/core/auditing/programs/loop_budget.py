from langchain_openai import ChatOpenAI
from llmthrift_core import Thrift
from llmthrift_langchain import thrifty
thrift = Thrift()
llm = thrifty(ChatOpenAI(model="gpt-4o", max_tokens=50), thrift)
def run(items, plain):
    for item in items:
        llm.invoke(item)
    while plain.waits:
        with thrift.budgets.reserve(estimate_usd=1):
            plain.llm.invoke("Next")
