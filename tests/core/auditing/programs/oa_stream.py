import openai
client = openai.OpenAI()
for chunk in client.chat.completions.create(model="gpt-4o", max_tokens=9, messages=[], stream=True):  # expect: stream-without-usage
    print(chunk)
for chunk in client.chat.completions.create(model="gpt-4o", max_tokens=9, messages=[], stream=True, stream_options={"include_usage": True}):
    print(chunk)
