from datetime import datetime
from langchain_core.globals import set_llm_cache
from langchain_openai import ChatOpenAI
from llmthrift_langchain import ThriftCache
set_llm_cache(ThriftCache(None))
llm = ChatOpenAI(model="gpt-4o", max_tokens=50)
question = f"It is {datetime.now()}. What is new?"  # expect: volatile-cache-key
llm.invoke(question)
llm.invoke("What is old?")
