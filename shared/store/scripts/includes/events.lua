-- Appends one event to a run's stream under the next id, and wakes its readers.
local function emit(run, kind, data)
  local id = redis.call('HINCRBY', P .. run, 'seq', 1)
  redis.call('XADD', P .. run .. ':events', id .. '-0', 'type', kind, 'data', data, 'at', now)
  wake(run, kind == 'text' and 'text' or 'state')
  return id
end
