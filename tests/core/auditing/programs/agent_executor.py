from langchain.agents import AgentExecutor
def build(agent, tools):
    a = AgentExecutor(agent=agent, tools=tools, max_iterations=None)  # expect: no-step-limit
    b = AgentExecutor(agent=agent, tools=tools, max_iterations=8)
    return a, b
