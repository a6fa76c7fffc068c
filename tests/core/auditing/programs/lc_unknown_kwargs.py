from langchain_openai import ChatOpenAI
def build(**options):
    return ChatOpenAI(model="gpt-4o", **options)
