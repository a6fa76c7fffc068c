"""A query engine that is asked until it is content."""
from llama_index.core import Settings, VectorStoreIndex
from llama_index.llms.openai import OpenAI

Settings.llm = OpenAI(model="gpt-4o", max_tokens=256)
engine = VectorStoreIndex([]).as_query_engine()
answer = engine.query("Where?")
while "unknown" in str(answer):  # expect: loop-without-budget
    answer = engine.query(f"Again: {answer}")
