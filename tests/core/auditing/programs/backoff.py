"""Tries of backoff, few and many."""
import anthropic
import backoff

client = anthropic.Anthropic(max_retries=4)


@backoff.on_exception(backoff.expo, anthropic.RateLimitError, max_tries=3)
def ask(text):
    return client.messages.create(model="claude-sonnet-4-5", max_tokens=99, messages=[{"role": "user", "content": text}])  # expect: worst-case-cost


@backoff.on_exception(backoff.expo, anthropic.RateLimitError, max_tries=2)
def few(text):
    once = anthropic.Anthropic(max_retries=0)
    return once.messages.create(model="claude-sonnet-4-5", max_tokens=99, messages=[{"role": "user", "content": text}])
