from langchain.agents import create_agent
from langchain.agents.middleware import ModelCallLimitMiddleware
agent = create_agent("openai:gpt-4o", tools=[], middleware=[ModelCallLimitMiddleware(run_limit=5)])
agent.invoke({"messages": []})
