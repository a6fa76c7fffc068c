from langchain_openai import ChatOpenAI as Chat
LIMIT = 200
options = {"max_tokens": LIMIT, "model": "gpt-4o"}
llm = Chat(**options)
print(llm.invoke("Hello"))
