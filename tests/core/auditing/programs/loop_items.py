from openai import OpenAI
client = OpenAI()
def ask(text):
    return client.responses.create(model="gpt-4o", input=text, max_output_tokens=100)
def everything(documents):
    for document in documents:  # expect: loop-without-budget
        ask(document)
    return [ask(d) for d in documents]  # expect: loop-without-budget
