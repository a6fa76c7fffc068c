"""Models that speak OpenAI's protocol, called as it is: a request goes on as it came, and so does its answer."""
