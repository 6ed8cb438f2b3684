-- A run's published text.
-- @include events

-- Publishes a piece that begins at `start`; false where it does not follow on what is there: the store forgot text
-- in a crash, and the piece would splice the stream. One that is published already changes nothing.
local function publish(run, start, size, data)
  local chars = tonumber(redis.call('HGET', P .. run, 'chars'))
  if start + size <= chars then
    return true
  end
  if start ~= chars then
    return false
  end
  dirty_first()
  redis.call('HINCRBY', P .. run, 'chars', size)
  emit(run, 'text', data)
  return true
end
