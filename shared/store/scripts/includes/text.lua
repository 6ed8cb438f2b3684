-- A run's published text: `chars` of its hash counts the code points of all its answers, and chars:<choice> those of
-- one of several; `first` is the moment of the first, and `unread` stands until a reader is given some of it.
-- @include events

-- Publishes a piece {start, size, choice (of several answers)}; false where it does not follow on what is there: the
-- store forgot text in a crash, and the piece would splice the stream. One that is published already changes nothing.
local function publish(run, piece, data)
  local key, own = P .. run, piece.choice and 'chars:' .. piece.choice
  local chars = tonumber(redis.call('HGET', key, own or 'chars') or 0)
  if piece.start + piece.size <= chars then
    return true
  end
  if piece.start ~= chars then
    return false
  end
  dirty_first()
  if chars == 0 then
    -- A reader of one answer has read of the run, even before the other answers begin.
    if redis.call('HSETNX', key, 'first', now) == 1 then
      redis.call('HSET', key, 'unread', 1)
    end
  end
  redis.call('HINCRBY', key, 'chars', piece.size)
  if own then
    redis.call('HINCRBY', key, own, piece.size)
  end
  emit(run, 'text', data)
  return true
end

-- Takes back a run's text that nobody has read; false where somebody may have. The events' ids are not given again.
local function unsay(run)
  local key, events = P .. run, P .. run .. ':events'
  if redis.call('HEXISTS', key, 'unread') == 0 then
    return false
  end
  for _, entry in ipairs(redis.call('XRANGE', events, '-', '+')) do
    if entry[2][2] == 'text' then
      redis.call('XDEL', events, entry[1])
    end
  end
  for _, name in ipairs(redis.call('HKEYS', key)) do
    if string.sub(name, 1, 6) == 'chars:' then
      redis.call('HDEL', key, name)
    end
  end
  redis.call('HDEL', key, 'first', 'unread')
  redis.call('HSET', key, 'chars', 0)
  return true
end
