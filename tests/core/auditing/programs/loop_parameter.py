from langchain_core.language_models import BaseChatModel
async def refine(model: BaseChatModel, text: str, good) -> str:
    while not good(text):  # expect: loop-without-budget
        text = (await model.ainvoke(text)).content
    return text
