from langchain_openai import ChatOpenAI
main = ChatOpenAI(model="gpt-4o", max_retries=0, max_tokens=100)
chain = main.with_retry(stop_after_attempt=3)
