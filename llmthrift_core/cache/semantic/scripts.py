"""The scripts of the semantic cache on Valkey.

Keys, all beginning with `PREFIX`; an entry's key is its number, which is never used twice:

    next               counter: the last number
    entry:NUMBER       hash: the entry, as in the exact cache
    numbers            hash: number by key, a digest of scope and question
    keys, scopes       hash: key and scope by number
    scope:SCOPE        sorted set: numbers of a scope, by number

and the indexes of the exact cache: namespaces, used, rank, expires, sizes, bytes.
"""

from __future__ import annotations

from typing import Final

from llmthrift_core.cache import scripts as cache
from llmthrift_core.storage.valkey import Script

PREFIX: Final = f"{cache.PREFIX}semantic:"

_FORGET: Final = """
  local scope = redis.call('HGET', P .. 'scopes', key)
  if scope then redis.call('ZREM', P .. 'scope:' .. scope, key) end
  redis.call('HDEL', P .. 'scopes', key)
  local name = redis.call('HGET', P .. 'keys', key)
  if name and redis.call('HGET', P .. 'numbers', name) == key then redis.call('HDEL', P .. 'numbers', name) end
  redis.call('HDEL', P .. 'keys', key)
"""
_WORDS: Final = cache.words_for(PREFIX, _FORGET)

FIELDS: Final = (
    "key", "question", "answer", "payload", "namespace", "model", "provider", "metadata", "usage", "created_us", "expires_us",
)  # fmt: skip
_VALUES: Final = ", ".join(f"'{field}'" for field in FIELDS)
# key. Returns its number, or nil, then the values of FIELDS.
GET_BY_KEY: Final = Script(
    f"local number = redis.call('HGET', '{PREFIX}numbers', ARGV[1])",
    f"if not number then return {{false}} end return {{number, unpack(redis.call('HMGET', '{PREFIX}entry:' .. number, {_VALUES}))}}",
)
# key, namespace, scope, expires_us or '', used_us, size_bytes, ttl_ms or '', then fields and values of the hash. Returns the number.
PUT: Final = Script(
    _WORDS,
    """
local name, namespace, scope, expires, used, size, ttl = unpack(ARGV, 1, 7)
local old = redis.call('HGET', P .. 'numbers', name)
if old then drop(namespace, old) end  -- of the same namespace, which is part of the key
local number = string.format('%.0f', redis.call('INCR', P .. 'next'))
local entry = P .. 'entry:' .. number
redis.call('HSET', entry, unpack(ARGV, 8))
redis.call('HSET', P .. 'numbers', name, number)
redis.call('HSET', P .. 'keys', number, name)
redis.call('HSET', P .. 'scopes', number, scope)
redis.call('ZADD', P .. 'scope:' .. scope, number, number)
redis.call('SADD', P .. 'namespaces', namespace)
redis.call('ZADD', P .. 'used:' .. namespace, used, number)
redis.call('ZADD', P .. 'rank:' .. namespace, 0, rank_of(used, number))
redis.call('HSET', P .. 'sizes:' .. namespace, number, size)
redis.call('HINCRBY', P .. 'bytes', namespace, size)
if expires ~= '' then redis.call('ZADD', P .. 'expires:' .. namespace, expires, number) end
if ttl ~= '' then redis.call('PEXPIRE', entry, ttl) end
return tonumber(number)
""",
)
# namespace, then numbers. Returns how many there were.
REMOVE: Final = Script(
    _WORDS,
    """
local removed = 0
for i = 2, #ARGV do
  if redis.call('ZSCORE', P .. 'used:' .. ARGV[1], ARGV[i]) then
    drop(ARGV[1], ARGV[i])
    removed = removed + 1
  end
end
return removed
""",
)

SCRIPTS: Final = cache.UpkeepScripts(PREFIX, _WORDS)
