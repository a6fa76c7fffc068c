"""A client in an attribute of self."""
import openai


class Bot:
    def __init__(self):
        self.client = openai.OpenAI()

    def say(self, text):
        return self.client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": text}])  # expect: no-output-limit

    def brief(self, text):
        return self.client.responses.create(model="gpt-4o-mini", input=text, max_output_tokens=80)
