from langchain_openai import ChatOpenAI
a = ChatOpenAI(model="gpt-4o")  # llmthrift: ignore[no-output-limit]
b = ChatOpenAI(model="gpt-4o")  # llmthrift: ignore
c = ChatOpenAI(model="gpt-4o")  # llmthrift: ignore[unpriced-model]  # expect: no-output-limit
