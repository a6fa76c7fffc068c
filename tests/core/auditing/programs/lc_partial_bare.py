"""A partial without a limit."""
import functools
from langchain_openai import ChatOpenAI

make = functools.partial(ChatOpenAI, model="gpt-4o")
quick = make(temperature=0)  # expect: no-output-limit
print(quick.invoke("Hi"))
