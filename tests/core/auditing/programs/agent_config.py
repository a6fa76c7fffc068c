from langchain.agents import create_agent
agent = create_agent("openai:gpt-4o", tools=[])
agent.invoke({"messages": []}, config={"recursion_limit": 12})
