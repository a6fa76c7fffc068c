"""The scripts of budgets on Valkey. Each is one step of the server, so that nobody can spend between a check and what follows it.

Lua's numbers are floating point, exact up to 2^53 only: amounts are added by HINCRBY, in 64-bit integers, and compared as texts.

Keys, all beginning with `PREFIX`:

    budgets                              set of names
    budget:NAME                          hash: limit_nano_usd, limit_tokens, limit_requests (absent: no limit), settings
    window:LENGTH:NAME:START:SCOPE       hash: spent_*, reserved_*, used_* (both together), overrun_*, alerted, resets_us
    spenders:LENGTH:NAME:START           set of scopes
    starts:NAME                          sorted set: start of a window, by its end
    hold:ID                              hash: state, parts (JSON), nano_usd, tokens, created_us, expires_us
    held                                 sorted set: ids of open holds, by the time at which they expire
"""

from __future__ import annotations

from typing import Final

from llmthrift_core.storage.valkey import Script

PREFIX: Final = "llmthrift:{budgets}:"
PART_ARGUMENTS: Final = ("mode", "budget", "scope", "start_us", "resets_us", "kept_ms")

_WORDS: Final = f"""
local P = '{PREFIX}'
local UNITS = {{'nano_usd', 'tokens', 'requests'}}

local function key_of(kind, budget, start)
  return P .. kind .. ':' .. #budget .. ':' .. budget .. ':' .. start
end

local function window_of(budget, start, scope)
  return key_of('window', budget, start) .. ':' .. scope
end

local function at_most(a, b)
  return #a < #b or (#a == #b and a <= b)
end

local function minus(a)
  return a == '0' and a or '-' .. a
end

-- A window that has just begun is listed among those of its budget, and forgotten with them.
local function enlist(window, budget, scope, start, resets, kept_ms)
  local spenders = key_of('spenders', budget, start)
  redis.call('SADD', spenders, scope)
  redis.call('ZADD', P .. 'starts:' .. budget, resets == '' and '+inf' or resets, start)
  if kept_ms ~= '' then
    redis.call('PEXPIRE', window, kept_ms)
    redis.call('PEXPIRE', spenders, kept_ms)
  end
end
"""

# take(first, taken, total): sets `taken` aside in the parts that begin at ARGV[first]; `total` is what the request holds altogether.
# Returns the number of the part that has no room, and then nothing is set aside; 0 if all have.
_TAKE: Final = """
local function take(first, taken, total)
  local moved, opened = {}, {}
  local function refuse(part)
    for _, each in ipairs(moved) do redis.call('HINCRBY', each[1], each[2], minus(each[3])) end
    for _, key in ipairs(opened) do redis.call('DEL', key) end
    return part
  end
  local part = 0
  for i = first, #ARGV, 6 do
    part = part + 1
    local mode, budget, scope, start, resets, kept_ms = unpack(ARGV, i, i + 5)
    local limits = redis.call('HMGET', P .. 'budget:' .. budget, 'limit_nano_usd', 'limit_tokens', 'limit_requests', 'settings')
    if not limits[4] then
      if mode ~= 'warn' then return refuse(part) end
    elseif mode == 'request' then
      for u = 1, 3 do
        if limits[u] and total[u] ~= '0' and not at_most(total[u], limits[u]) then return refuse(part) end
      end
    else
      local window = window_of(budget, start, scope)
      if redis.call('EXISTS', window) == 0 then opened[#opened + 1] = window end
      for u, unit in ipairs(UNITS) do
        for _, kind in ipairs({'reserved_', 'used_'}) do
          local grown = redis.pcall('HINCRBY', window, kind .. unit, taken[u])
          if type(grown) == 'table' then return refuse(part) end
          moved[#moved + 1] = {window, kind .. unit, taken[u]}
        end
        if mode == 'limit' and limits[u] and taken[u] ~= '0'
            and not at_most(redis.call('HGET', window, 'used_' .. unit), limits[u]) then
          return refuse(part)
        end
      end
    end
  end
  for i = first, #ARGV, 6 do
    local mode, budget, scope, start, resets, kept_ms = unpack(ARGV, i, i + 5)
    local window = window_of(budget, start, scope)
    if mode ~= 'request' and redis.call('EXISTS', window) == 1 and redis.call('HSETNX', window, 'resets_us', resets) == 1 then
      enlist(window, budget, scope, start, resets, kept_ms)
    end
  end
  return 0
end
"""

# finish(id, state, spent, kept_ms): ends a hold, and gives back what it has set aside. Returns the windows that it moved money in.
_FINISH: Final = """
local function finish(id, state, spent, kept_ms)
  local key = P .. 'hold:' .. id
  local hold = redis.call('HMGET', key, 'state', 'parts', 'nano_usd', 'tokens')
  local back = hold[1] == 'held' and {hold[3], hold[4], '1'} or {'0', '0', '0'}
  if spent[1] == '-1' then spent[1] = hold[3] end
  redis.call('HSET', key, 'state', state)
  redis.call('ZREM', P .. 'held', id)
  redis.call('PEXPIRE', key, kept_ms)
  -- What was not set aside (any more) may not have been there: spent + reserved <= limit + overrun always holds.
  local over = {}
  for u = 1, 2 do
    local field = 'over_' .. UNITS[u]
    redis.call('HSET', key, field, spent[u])
    redis.call('HINCRBY', key, field, minus(back[u]))
    over[u] = redis.call('HGET', key, field)
    if string.sub(over[u], 1, 1) == '-' then over[u] = '0' end
  end
  local moved = {}
  for _, part in ipairs(cjson.decode(hold[2])) do
    local budget, scope, start = part[1], part[2], part[3]
    local window = window_of(budget, start, scope)
    if redis.call('EXISTS', window) == 1 then
      for u, unit in ipairs(UNITS) do
        redis.call('HINCRBY', window, 'spent_' .. unit, spent[u])
        redis.call('HINCRBY', window, 'used_' .. unit, spent[u])
        redis.call('HINCRBY', window, 'reserved_' .. unit, minus(back[u]))
        redis.call('HINCRBY', window, 'used_' .. unit, minus(back[u]))
        if u < 3 then redis.call('HINCRBY', window, 'overrun_' .. unit, over[u]) end
      end
      local now = redis.call('HMGET', window, 'spent_nano_usd', 'spent_tokens', 'spent_requests', 'alerted', 'resets_us')
      moved[#moved + 1] = {budget, scope, start, now[1], now[2], now[3], now[4] or '0', now[5] or ''}
    end
  end
  return moved
end
"""

# budget, start_us, resets_us, kept_ms, scope, what is spent in each unit, and what of it is overrun in the first two: a window that
# begins with what was spent before its budget was there, unless it is open already.
BEGIN_WINDOW: Final = Script(
    _WORDS,
    """
local budget, start, resets, kept_ms, scope = unpack(ARGV, 1, 5)
local window = window_of(budget, start, scope)
if redis.call('EXISTS', window) == 1 then return 0 end
redis.call('HSET', window, 'resets_us', resets)
for u, unit in ipairs(UNITS) do
  redis.call('HSET', window, 'spent_' .. unit, ARGV[5 + u], 'used_' .. unit, ARGV[5 + u])
  if u < 3 then redis.call('HSET', window, 'overrun_' .. unit, ARGV[8 + u]) end
end
enlist(window, budget, scope, start, resets, kept_ms)
return 1
""",
)
# hold id, parts as JSON, now_us, expires_us, nano_usd, tokens, requests, then each part. Returns the number of the part without room.
RESERVE: Final = Script(
    _WORDS,
    _TAKE,
    """
local key = P .. 'hold:' .. ARGV[1]
if redis.call('EXISTS', key) == 1 then return 0 end
local amounts = {ARGV[5], ARGV[6], ARGV[7]}
local refused = take(8, amounts, amounts)
if refused == 0 then
  redis.call('HSET', key, 'state', 'held', 'parts', ARGV[2], 'nano_usd', ARGV[5], 'tokens', ARGV[6],
    'created_us', ARGV[3], 'expires_us', ARGV[4])
  redis.call('ZADD', P .. 'held', ARGV[4], ARGV[1])
end
return refused
""",
)
# hold id, expires_us, nano_usd, tokens, then each part. Returns -1 for an ended hold, else the number of the part without room.
EXTEND: Final = Script(
    _WORDS,
    _TAKE,
    """
local key = P .. 'hold:' .. ARGV[1]
local state = redis.call('HGET', key, 'state')
if state ~= 'held' and state ~= 'expired' then return -1 end
redis.call('HINCRBY', key, 'nano_usd', ARGV[3])
redis.call('HINCRBY', key, 'tokens', ARGV[4])
local now = redis.call('HMGET', key, 'nano_usd', 'tokens')
local total = {now[1], now[2], '1'}
local refused = take(5, state == 'held' and {ARGV[3], ARGV[4], '0'} or total, total)
if refused == 0 then
  redis.call('HSET', key, 'state', 'held', 'expires_us', ARGV[2])
  redis.call('PERSIST', key)
  redis.call('ZADD', P .. 'held', ARGV[2], ARGV[1])
else
  redis.call('HINCRBY', key, 'nano_usd', minus(ARGV[3]))
  redis.call('HINCRBY', key, 'tokens', minus(ARGV[4]))
end
return refused
""",
)
# hold id, new state, nano_usd (-1: as much as was held), tokens, requests, kept_ms. Returns the windows; nil for an ended hold.
SETTLE: Final = Script(
    _WORDS,
    _FINISH,
    """
local state = redis.call('HGET', P .. 'hold:' .. ARGV[1], 'state')
if state ~= 'held' and state ~= 'expired' then return false end
return finish(ARGV[1], ARGV[2], {ARGV[3], ARGV[4], ARGV[5]}, ARGV[6])
""",
)
# expires_us, then ids of holds: those that are held last until then.
RENEW: Final = Script(
    _WORDS,
    """
for i = 2, #ARGV do
  local key = P .. 'hold:' .. ARGV[i]
  if redis.call('HGET', key, 'state') == 'held' then
    redis.call('HSET', key, 'expires_us', ARGV[1])
    redis.call('ZADD', P .. 'held', ARGV[1], ARGV[i])
  end
end
return 0
""",
)
# kept_ms, then ids of holds. Returns how many of them were held.
END: Final = Script(
    _WORDS,
    _FINISH,
    """
local ended = 0
for i = 2, #ARGV do
  if redis.call('HGET', P .. 'hold:' .. ARGV[i], 'state') == 'held' then
    finish(ARGV[i], 'expired', {'0', '0', '0'}, ARGV[1])
    ended = ended + 1
  end
end
return ended
""",
)
# kept ids of holds as JSON, then old and new scope, in turn. Renames them in holds and windows. Returns how many windows there were.
RENAME: Final = Script(
    _WORDS,
    """
local new = {}
for i = 2, #ARGV, 2 do new[ARGV[i]] = ARGV[i + 1] end
local ids = redis.call('ZRANGE', P .. 'held', 0, -1)
for _, id in ipairs(cjson.decode(ARGV[1])) do ids[#ids + 1] = id end
for _, id in ipairs(ids) do
  local key = P .. 'hold:' .. id
  local parts = redis.call('HGET', key, 'parts')
  if parts then
    local found, changed = cjson.decode(parts), false
    for _, part in ipairs(found) do
      if new[part[2]] then part[2], changed = new[part[2]], true end
    end
    if changed then redis.call('HSET', key, 'parts', cjson.encode(found)) end
  end
end
local renamed = 0
for _, budget in ipairs(redis.call('SMEMBERS', P .. 'budgets')) do
  for _, start in ipairs(redis.call('ZRANGE', P .. 'starts:' .. budget, 0, -1)) do
    local spenders = key_of('spenders', budget, start)
    for old, name in pairs(new) do
      if redis.call('SREM', spenders, old) == 1 then
        redis.call('SADD', spenders, name)
        if redis.call('EXISTS', window_of(budget, start, old)) == 1 then
          redis.call('RENAME', window_of(budget, start, old), window_of(budget, start, name))
          renamed = renamed + 1
        end
      end
    end
  end
end
return renamed
""",
)
# budget, scope, start_us, per mille. Returns 1 if that is more than was told before.
MARK_ALERTED: Final = Script(
    _WORDS,
    """
local window = window_of(ARGV[1], ARGV[3], ARGV[2])
if redis.call('EXISTS', window) == 0 or tonumber(redis.call('HGET', window, 'alerted') or '0') >= tonumber(ARGV[4]) then return 0 end
redis.call('HSET', window, 'alerted', ARGV[4])
return 1
""",
)
