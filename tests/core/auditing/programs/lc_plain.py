from langchain_openai import ChatOpenAI
llm = ChatOpenAI(model="gpt-4o")  # expect: no-output-limit
print(llm.invoke("Hello"))
