from llama_index.llms.openai import OpenAI
class Service:
    def __init__(self):
        self.llm = OpenAI("gpt-4o-mini")  # expect: no-output-limit
    def ask(self, text):
        return self.llm.complete(text)
