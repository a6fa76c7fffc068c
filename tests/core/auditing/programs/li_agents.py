from llama_index.core.agent.workflow import FunctionAgent
first = FunctionAgent(tools=[])  # expect: no-step-limit
second = FunctionAgent(tools=[])
async def main():
    await first.run("Hello")
    await second.run("Hello", max_iterations=6)
