-- A run's published text: `chars` of its hash counts the code points of all its answers, and chars:<choice> those of
-- one of several; `first` is the moment of the first.
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
    redis.call('HSETNX', key, 'first', now)
  end
  redis.call('HINCRBY', key, 'chars', piece.size)
  if own then
    redis.call('HINCRBY', key, own, piece.size)
  end
  emit(run, 'text', data)
  return true
end
