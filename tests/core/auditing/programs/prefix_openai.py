import datetime as dt
from openai import OpenAI
today = dt.date.today()
system = f"Today is {today.isoformat()}. You are a helpful assistant who answers in short, plain sentences."  # expect: volatile-prefix
OpenAI().chat.completions.create(model="gpt-4o", max_tokens=5, messages=[{"role": "system", "content": system}])
