from langchain_openai import ChatOpenAI
llm = ChatOpenAI(model="gpt-4o", max_tokens=50)
rounds = 0
while True:
    llm.invoke("Next")
    rounds += 1
    if rounds >= 5:
        break
for _ in range(3):
    llm.invoke("Again")
