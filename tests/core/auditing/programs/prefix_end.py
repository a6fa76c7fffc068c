import time
from langchain_core.messages import SystemMessage
RULES = "You are a helpful assistant who answers in short, plain sentences and cites the handbook."
message = SystemMessage(RULES + f" Now: {time.time()}")
other = SystemMessage("Time: {}. {}".format(time.ctime(), RULES))  # expect: volatile-prefix
