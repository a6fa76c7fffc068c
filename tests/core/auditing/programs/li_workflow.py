"""An agent workflow, limited where it is run."""
import asyncio
from llama_index.core.agent.workflow import AgentWorkflow
from llama_index.llms.openai import OpenAI

llm = OpenAI(model="gpt-4o", max_tokens=256)
flow = AgentWorkflow.from_tools_or_functions([], llm=llm)


async def main():
    return await flow.run("Hi", max_iterations=8)


asyncio.run(main())
