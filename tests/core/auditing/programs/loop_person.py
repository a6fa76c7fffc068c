from openai import OpenAI
client = OpenAI()
while True:
    text = input("> ")
    client.responses.create(model="gpt-4o", input=text, max_output_tokens=100)
