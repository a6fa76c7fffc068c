from langchain.agents import create_agent
agent = create_agent("openai:gpt-4o", tools=[])  # expect: no-step-limit
agent.invoke({"messages": []})
