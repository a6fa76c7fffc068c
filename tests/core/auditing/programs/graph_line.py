from langgraph.graph import END, START, StateGraph
builder = StateGraph(dict)
builder.add_edge(START, "a")
builder.add_edge("a", "b")
builder.add_edge("b", END)
graph = builder.compile()
graph.invoke({})
