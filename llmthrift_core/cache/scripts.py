"""The scripts of the exact cache on Valkey.

Keys, all beginning with `PREFIX`:

    epoch              counter: rises with every live entry that is removed or replaced
    namespaces         set of names
    entry:KEY          hash: the entry; expires a day after it may last answer, so that a server may drop it before anything else
    used:NAMESPACE     sorted set: keys of entries, by their last use
    rank:NAMESPACE     sorted set: last use in 20 digits and key, by the number of hits
    expires:NAMESPACE  sorted set: keys of entries that expire, by when
    sizes:NAMESPACE    hash: size in bytes by key
    bytes              hash: the sum of these by namespace
    removals           sorted set: epoch and criteria of what was removed of late, by the epoch
    lease:KEY          hash: who makes the call of that key, and until when
"""

from __future__ import annotations

from typing import Final

from llmthrift_core.storage.valkey import Script

PREFIX: Final = "llmthrift:{cache}:"

_DROP: Final = """
local function rank_of(used, key)
  return string.format('%020.0f', tonumber(used)) .. key
end

-- Takes an entry out of every index. Returns its size in bytes and whether it was ever used.
local function drop(namespace, key)
  local used = redis.call('ZSCORE', P .. 'used:' .. namespace, key)
  local size = redis.call('HGET', P .. 'sizes:' .. namespace, key) or '0'
  local hits = '0'
  if used then
    hits = redis.call('ZSCORE', P .. 'rank:' .. namespace, rank_of(used, key)) or '0'
    redis.call('ZREM', P .. 'rank:' .. namespace, rank_of(used, key))
  end
  redis.call('ZREM', P .. 'used:' .. namespace, key)
  redis.call('ZREM', P .. 'expires:' .. namespace, key)
  redis.call('HDEL', P .. 'sizes:' .. namespace, key)
  redis.call('HINCRBY', P .. 'bytes', namespace, '-' .. size)
  redis.call('DEL', P .. 'entry:' .. key)
  forget(key)
  return size, hits ~= '0'
end
"""


def words_for(prefix: str, forget: str = "") -> str:
    """What the scripts of a cache begin with: its prefix, and how an entry is taken out of every index.

    Args:
        forget: Lua that takes `key` out of what only this cache has.
    """
    return f"local P = '{prefix}'\nlocal function forget(key)\n{forget}\nend\n{_DROP}"


_WORDS: Final = words_for(PREFIX)

FIELDS: Final = ("namespace", "model", "provider", "metadata", "payload", "usage", "created_us", "expires_us")
# key. Returns the epoch, then the values of FIELDS.
GET: Final = Script(
    f"return {{redis.call('GET', '{PREFIX}epoch') or '0', unpack(redis.call('HMGET', '{PREFIX}entry:' .. ARGV[1], "
    + ", ".join(f"'{field}'" for field in FIELDS)
    + "))}"
)
# key, namespace, now_us, expires_us or '', used_us, size_bytes, ttl_ms or '', the last epoch whose removals the caller has seen or '',
# then fields and values of the hash. Returns the new epoch if a live entry was replaced, -2 if more was removed meanwhile, else -1.
PUT: Final = Script(
    _WORDS,
    """
local key, namespace, now, expires, used, size, ttl, seen = unpack(ARGV, 1, 8)
if seen ~= '' and redis.call('ZCOUNT', P .. 'removals', '(' .. seen, '+inf') > 0 then return -2 end
local entry = P .. 'entry:' .. key
local old = redis.call('HMGET', entry, 'namespace', 'expires_us')
local hits, epoch = '0', -1
if old[1] then
  local last = redis.call('ZSCORE', P .. 'used:' .. old[1], key)
  if last then hits = redis.call('ZSCORE', P .. 'rank:' .. old[1], rank_of(last, key)) or '0' end
  drop(old[1], key)
  if not old[2] or tonumber(old[2]) > tonumber(now) then epoch = redis.call('INCR', P .. 'epoch') end
end
redis.call('HSET', entry, unpack(ARGV, 9))
redis.call('SADD', P .. 'namespaces', namespace)
redis.call('ZADD', P .. 'used:' .. namespace, used, key)
redis.call('ZADD', P .. 'rank:' .. namespace, hits, rank_of(used, key))
redis.call('HSET', P .. 'sizes:' .. namespace, key, size)
redis.call('HINCRBY', P .. 'bytes', namespace, size)
if expires ~= '' then redis.call('ZADD', P .. 'expires:' .. namespace, expires, key) end
if ttl ~= '' then redis.call('PEXPIRE', entry, ttl) end
return epoch
""",
)
# criteria, most. Notes that what fulfils them is about to be removed. Returns the new epoch.
ANNOUNCE: Final = Script(
    _WORDS,
    """
local epoch = redis.call('INCR', P .. 'epoch')
redis.call('ZADD', P .. 'removals', epoch, epoch .. ':' .. ARGV[1])
redis.call('ZREMRANGEBYRANK', P .. 'removals', 0, -1 - tonumber(ARGV[2]))
return epoch
""",
)
# keys. Returns how many there were, and the new epoch.
REMOVE: Final = Script(
    _WORDS,
    """
local removed = 0
for _, key in ipairs(ARGV) do
  local namespace = redis.call('HGET', P .. 'entry:' .. key, 'namespace')
  if namespace then
    drop(namespace, key)
    removed = removed + 1
  end
end
return {removed, redis.call('INCR', P .. 'epoch')}
""",
)
# key, number of hits, time of the last, for each use.
_COUNT_USES: Final = """
for i = 1, #ARGV, 3 do
  local key, number, used = unpack(ARGV, i, i + 2)
  local namespace = redis.call('HGET', P .. 'entry:' .. key, 'namespace')
  local last = namespace and redis.call('ZSCORE', P .. 'used:' .. namespace, key)
  if last then
    if tonumber(last) > tonumber(used) then used = last end  -- another process may have told of a later use already
    local hits = redis.call('ZSCORE', P .. 'rank:' .. namespace, rank_of(last, key)) or '0'
    redis.call('ZREM', P .. 'rank:' .. namespace, rank_of(last, key))
    redis.call('ZADD', P .. 'rank:' .. namespace, hits + number, rank_of(used, key))
    redis.call('ZADD', P .. 'used:' .. namespace, used, key)
  end
end
"""
# namespace, order, key that stays, now_us, limit of entries or '', limit of bytes or '', most.
# Returns the epoch (-1: nothing was removed), whether that was all, the number of those past their time, which come first, then key, size
# and use of each.
_FREE: Final = """
local namespace, order, kept, now, max_entries, max_bytes, most = unpack(ARGV)
local function excess()
  local entries = max_entries ~= '' and redis.call('ZCARD', P .. 'used:' .. namespace) - max_entries or 0
  local bytes = max_bytes ~= '' and (redis.call('HGET', P .. 'bytes', namespace) or '0') - max_bytes or 0
  return math.max(entries, 0), math.max(bytes, 0)
end
local answer, freed = {-1, 1, 0}, 0
-- How many to look at, with the one that stays: of how many bytes each is, is not known before.
local function wanted()
  local entries, bytes = excess()
  if entries == 0 and bytes == 0 then return 0 end
  return bytes > 0 and tonumber(most) or math.min(entries + 1, tonumber(most))
end
local function free(found)
  for _, key in ipairs(found) do
    local entries, bytes = excess()
    if entries == 0 and bytes == 0 then return end
    if key ~= kept then
      local size, was_used = drop(namespace, key)
      freed = freed + 1
      answer[#answer + 1] = key
      answer[#answer + 1] = tonumber(size)
      answer[#answer + 1] = was_used and 1 or 0
    end
  end
end
local first = wanted()
local expired = first > 0 and redis.call('ZRANGEBYSCORE', P .. 'expires:' .. namespace, '-inf', now, 'LIMIT', 0, first) or {}
free(expired)
answer[3] = freed
local then_wanted = wanted()
if then_wanted > 0 and #expired < first then
  local found = redis.call('ZRANGE', P .. (order == 'lru' and 'used:' or 'rank:') .. namespace, 0, then_wanted - 1)
  if order == 'lfu' then
    for i, key in ipairs(found) do found[i] = string.sub(key, 21) end
  end
  free(found)
end
if freed > 0 then
  answer[1] = redis.call('INCR', P .. 'epoch')
  answer[2] = wanted() == 0 and 1 or 0
end
return answer
"""
# namespace, now_us, most. Returns key and use of each entry that was removed.
_EXPIRE: Final = """
local answer = {}
for _, key in ipairs(redis.call('ZRANGEBYSCORE', P .. 'expires:' .. ARGV[1], '-inf', ARGV[2], 'LIMIT', 0, ARGV[3])) do
  local size, was_used = drop(ARGV[1], key)
  answer[#answer + 1] = key
  answer[#answer + 1] = was_used and 1 or 0
end
return answer
"""
_LEASES: Final = f"""
local function lease_of(key) return '{PREFIX}lease:' .. key end
local function now_ms()
  local now = redis.call('TIME')
  return now[1] * 1000 + math.floor(now[2] / 1000)
end
-- The key stays for a minute after the lease's time: those who wait see that it expired, and that it was not given back.
local function hold(key, holder, ttl)
  redis.call('HSET', lease_of(key), 'holder', holder, 'until', string.format('%.0f', now_ms() + ttl))
  redis.call('PEXPIRE', lease_of(key), ttl + 60000)
end
"""
# key, holder, ttl_ms. Returns 1 if the lease is the holder's now, 0 if somebody has it whose time is not over.
TAKE_LEASE: Final = Script(
    _LEASES,
    """
local ends = redis.call('HGET', lease_of(ARGV[1]), 'until')
if ends and tonumber(ends) > now_ms() then return 0 end
hold(ARGV[1], ARGV[2], tonumber(ARGV[3]))
return 1
""",
)
# key. Returns for how many milliseconds the lease lasts, 0 or less if it has expired; nil if it was given back.
LEASE_LEFT: Final = Script(
    _LEASES,
    """
local ends = redis.call('HGET', lease_of(ARGV[1]), 'until')
return ends and tonumber(ends) - now_ms()
""",
)
# holder, ttl_ms, then keys. Lets the leases last so long which the holder still has.
RENEW_LEASES: Final = Script(
    _LEASES,
    """
for i = 3, #ARGV do
  if redis.call('HGET', lease_of(ARGV[i]), 'holder') == ARGV[1] then hold(ARGV[i], ARGV[1], tonumber(ARGV[2])) end
end
""",
)
# key, holder. Ends the lease that the holder still has.
END_LEASE: Final = Script(
    _LEASES,
    """
if redis.call('HGET', lease_of(ARGV[1]), 'holder') == ARGV[2] then redis.call('DEL', lease_of(ARGV[1])) end
""",
)


class UpkeepScripts:
    """The scripts that every cache has."""

    def __init__(self, prefix: str, words: str) -> None:
        self.prefix = prefix
        self.count_uses = Script(words, _COUNT_USES)
        self.free = Script(words, _FREE)
        self.expire = Script(words, _EXPIRE)


SCRIPTS: Final = UpkeepScripts(PREFIX, _WORDS)
