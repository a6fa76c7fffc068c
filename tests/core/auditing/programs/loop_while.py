from langchain_openai import ChatOpenAI
llm = ChatOpenAI(model="gpt-4o", max_tokens=50)
messages = []
while True:  # expect: loop-without-budget
    answer = llm.invoke(messages)
    if not answer.tool_calls:
        break
