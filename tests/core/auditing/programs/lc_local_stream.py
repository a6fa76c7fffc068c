from langchain_openai import ChatOpenAI
llm = ChatOpenAI(model="qwen", base_url="http://localhost:8000/v1", max_tokens=50)  # expect: stream-without-usage
for chunk in llm.stream("Hello"):
    print(chunk)
