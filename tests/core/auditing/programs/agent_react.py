from langgraph.prebuilt import create_react_agent as make
agent = make("openai:gpt-4o", [])  # expect: no-step-limit
bounded = make("openai:gpt-4o", []).with_config(recursion_limit=9)
