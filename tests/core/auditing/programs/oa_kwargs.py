"""Arguments that are merged before the call."""
from openai import OpenAI

client = OpenAI()
BASE = dict(model="gpt-4o", max_completion_tokens=250)
answer = client.chat.completions.create(messages=[{"role": "user", "content": "Hi"}], **BASE)
other = client.chat.completions.create(**{**BASE, "messages": [{"role": "user", "content": "Hi"}]})
