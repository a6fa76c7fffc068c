import openai
client = openai.OpenAI(max_retries=4)
client.chat.completions.create(model="gpt-4o", messages=[], n=5, max_tokens=20)  # expect: worst-case-cost
