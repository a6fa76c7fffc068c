from llama_index.llms.anthropic import Anthropic
llm = Anthropic(model="claude-sonnet-4-5")
