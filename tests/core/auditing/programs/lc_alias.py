import langchain_anthropic as la
Model = la.ChatAnthropic
def build():
    return Model(model="claude-sonnet-4-5")  # expect: no-output-limit
