from langgraph.graph import START, StateGraph
from langgraph.prebuilt import tools_condition
builder = StateGraph(dict)
builder.add_edge(START, "agent")
builder.add_conditional_edges("agent", tools_condition)
builder.add_edge("tools", "agent")
graph = builder.compile()  # expect: no-step-limit
graph.invoke({})
