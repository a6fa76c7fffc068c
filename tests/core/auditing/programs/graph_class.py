"""A circle of a graph that is made and run in a class."""
from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, StateGraph


class Flow:
    def __init__(self):
        self.llm = ChatOpenAI(model="gpt-4o", max_tokens=100)
        graph = StateGraph(dict)
        graph.add_node("think", lambda state: {"text": self.llm.invoke(state["text"])})
        graph.add_edge(START, "think")
        graph.add_conditional_edges("think", lambda state: "think" if state["open"] else END)
        self.graph = graph.compile()  # expect: no-step-limit

    def run(self, text):
        return self.graph.invoke({"text": text})
