from google import genai
client = genai.Client()
a = client.models.generate_content(model="gemini-2.5-flash", contents="Hi")  # expect: no-output-limit
b = client.models.generate_content(model="gemini-2.5-flash", contents="Hi", config={"max_output_tokens": 100})
c = client.models.generate_content(model="gemini-2.5-flash", contents="Hi", config=genai.types.GenerateContentConfig(max_output_tokens=5))
