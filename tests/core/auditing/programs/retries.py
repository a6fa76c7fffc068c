from langchain_openai import ChatOpenAI
main = ChatOpenAI(model="gpt-4o", max_retries=5, max_tokens=100)
other = ChatOpenAI(model="gpt-4o-mini", max_retries=5, max_tokens=100)
chain = main.with_retry(stop_after_attempt=4).with_fallbacks([other])  # expect: worst-case-cost
