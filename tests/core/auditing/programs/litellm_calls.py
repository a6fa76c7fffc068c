from litellm import completion
completion("gpt-4o", messages=[])  # expect: no-output-limit
completion(model="gpt-4o", messages=[], max_tokens=10, stream=True)  # expect: stream-without-usage
