"""The asynchronous client, a stream of it."""
import asyncio
from openai import AsyncOpenAI as Client

client = Client()


async def main():
    stream = await client.chat.completions.create(  # expect: no-output-limit  # expect: stream-without-usage
        model="gpt-4o", messages=[{"role": "user", "content": "Hi"}], stream=True
    )
    async for piece in stream:
        print(piece)


asyncio.run(main())
