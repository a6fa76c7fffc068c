from langchain_openai import ChatOpenAI
llm = ChatOpenAI(model="gpt-4o-mini")
short = llm.bind(max_tokens=50)
