from langchain_core.prompts import ChatPromptTemplate
prompt = ChatPromptTemplate.from_messages([
    ("system", "Date: {current_date}. You help the customers of a shop, in short and plain sentences."),  # expect: volatile-prefix
    ("user", "{question}"),
])
