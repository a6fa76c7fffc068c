import openai as oa
client = oa.AsyncOpenAI()
async def ask(q):
    await client.responses.create(model="gpt-5", input=q)  # expect: no-output-limit
    return await client.responses.create(model="gpt-5", input=q, max_output_tokens=300)
