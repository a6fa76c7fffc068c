"""An agent in an attribute; its limit is given where it is run."""
from langchain.agents import create_agent
from langchain_openai import ChatOpenAI


class Desk:
    def __init__(self):
        self.agent = create_agent(ChatOpenAI(model="gpt-4o", max_tokens=300), tools=[])

    async def run(self, text):
        return await self.agent.ainvoke({"messages": [("user", text)]}, {"recursion_limit": 15})
