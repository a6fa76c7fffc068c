"""An asynchronous loop of an agent's turns with a person, and one without."""
from langchain.agents import create_agent
from langchain_openai import ChatOpenAI

agent = create_agent(ChatOpenAI(model="gpt-4o", max_tokens=100), tools=[])


async def talk():
    while (text := input("> ")) != "bye":
        await agent.ainvoke({"messages": [("user", text)]}, {"recursion_limit": 9})


async def work(queue):
    while not queue.empty():  # expect: loop-without-budget
        await agent.ainvoke({"messages": [("user", await queue.get())]}, {"recursion_limit": 9})
