import uuid
from langchain_openai import ChatOpenAI
llm = ChatOpenAI(model="gpt-4o", max_tokens=50, cache=True)
llm.invoke([("user", "Question " + str(uuid.uuid4()))])  # expect: volatile-cache-key
plain = ChatOpenAI(model="gpt-4o", max_tokens=50)
plain.invoke("Question " + str(uuid.uuid4()))
