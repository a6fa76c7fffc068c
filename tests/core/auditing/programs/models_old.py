from anthropic import Anthropic
from openai import OpenAI
Anthropic().messages.create(model="claude-2.1", max_tokens=5, messages=[])  # expect: deprecated-model
OpenAI().chat.completions.create(model="gpt-4o-mnii", max_tokens=5, messages=[])  # expect: unpriced-model
OpenAI(base_url="http://localhost:1/v1").chat.completions.create(model="mine", max_tokens=5, messages=[])
