-- Whose turn it is in one lane: fair between callers by cost, weighted 16:4:1 between classes.
--   line:<lane>:<class>:<caller>  zset  that caller's work, by arrival
--   turns:<lane>:<class>          zset  callers with work, by the tag at which their first piece would be done
--   spent:<lane>:<class>          zset  callers without work, by the tag from which they would go on
--   clock:<lane>                  hash  now, <class> and <class>:now: how far the lane, each class and its callers
--                                       have come
-- Self-clocked fair queueing (Golestani, INFOCOM 1994), once between the classes and once within each. Its shares
-- are those of deficit round robin, without a ring to walk: the next piece is the lowest tag.

local CLASSES = { 'interactive', 'normal', 'batch' }
-- By how much a piece of cost 1 moves its class's clock: 16 interactive pieces run for 4 normal ones and 1 of a batch.
local PACE = { interactive = 1, normal = 4, batch = 16 }

-- Work that was begun once is not charged for again.
local function cost_of(id)
  local cost, charged = unpack(redis.call('HMGET', P .. id, 'cost', 'charged'))
  return charged and 0 or tonumber(cost or 1)
end

local function line_key(lane, class, caller)
  return P .. 'line:' .. lane .. ':' .. class .. ':' .. caller
end

local function turns_key(lane, class)
  return P .. 'turns:' .. lane .. ':' .. class
end

local function spent_key(lane, class)
  return P .. 'spent:' .. lane .. ':' .. class
end

local function first_of(line)
  return redis.call('ZRANGE', line, 0, 0)[1]
end

local function tag(value)
  return string.format('%.17g', value)
end

-- The tag from which a caller without work goes on.
local function fresh_start(lane, class, caller)
  local clock = P .. 'clock:' .. lane
  if redis.call('EXISTS', turns_key(lane, class)) == 0 then
    local own, now_tag = unpack(redis.call('HMGET', clock, class, 'now'))
    redis.call('HSET', clock, class, tag(math.max(tonumber(own or 0), tonumber(now_tag or 0))))
  end
  local owed = redis.call('ZSCORE', spent_key(lane, class), caller)
  redis.call('ZREM', spent_key(lane, class), caller)
  return math.max(tonumber(redis.call('HGET', clock, class .. ':now') or 0), tonumber(owed or 0))
end

local function join_line(id, lane, class, caller, arrival)
  local line, turns = line_key(lane, class, caller), turns_key(lane, class)
  local before = first_of(line)
  local known = before and redis.call('ZSCORE', turns, caller)
  local start = known and tonumber(known) - cost_of(before) or fresh_start(lane, class, caller)
  redis.call('ZADD', line, arrival, id)
  redis.call('ZADD', turns, tag(start + cost_of(before and first_of(line) or id)), caller)
end

-- A caller's first piece went, and its next one starts at `start`.
local function go_on(lane, class, caller, start)
  local following = first_of(line_key(lane, class, caller))
  if following then
    redis.call('ZADD', turns_key(lane, class), tag(start + cost_of(following)), caller)
  else
    redis.call('ZREM', turns_key(lane, class), caller)
    redis.call('ZADD', spent_key(lane, class), tag(start), caller)
  end
end

local function quit_line(id, lane, class, caller)
  local line = line_key(lane, class, caller)
  local known = first_of(line) == id and redis.call('ZSCORE', turns_key(lane, class), caller)
  if redis.call('ZREM', line, id) == 1 and known then
    go_on(lane, class, caller, tonumber(known) - cost_of(id))
  end
end

-- Whose turn it is, and at which tag the piece will be done: {id, class, caller, tag, finish}; nil where no line is.
local function next_turn(lane)
  local best
  for _, class in ipairs(CLASSES) do
    local caller, done = unpack(redis.call('ZRANGE', turns_key(lane, class), 0, 0, 'WITHSCORES'))
    local id = caller and first_of(line_key(lane, class, caller))
    if id then
      local own = tonumber(redis.call('HGET', P .. 'clock:' .. lane, class) or 0)
      local finish = own + cost_of(id) * PACE[class]
      if not best or finish < best.finish then
        best = { id = id, class = class, caller = caller, tag = tonumber(done), finish = finish }
      end
    end
  end
  return best
end

local function take_turn(lane, turn)
  local class = turn.class
  redis.call('ZREM', line_key(lane, class, turn.caller), turn.id)
  redis.call('HSET', P .. 'clock:' .. lane, 'now', tag(turn.finish), class, tag(turn.finish),
    class .. ':now', tag(turn.tag))
  redis.call('ZREMRANGEBYSCORE', spent_key(lane, class), '-inf', '(' .. tag(turn.tag))
  go_on(lane, class, turn.caller, turn.tag)
end

-- Forgets all turns: where nobody waits, nobody is owed anything.
local function forget_turns(lane)
  redis.call('DEL', P .. 'clock:' .. lane)
  for _, class in ipairs(CLASSES) do
    redis.call('DEL', spent_key(lane, class))
  end
end
