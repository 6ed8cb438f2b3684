-- A run's stream. `seq` of its hash is the last id given, `server` the process of the record store that gave it.

-- More events of one run than a server can forget; LEAP of shared/job.py.
local LEAP = 10000

local server
-- The id of the server process that answers; '' where it does not say.
local function this_server()
  if not server then
    local told = redis.pcall('INFO', 'server')
    server = type(told) == 'string' and string.match(told, 'run_id:(%w+)') or ''
  end
  return server
end

-- Whether a run's last id, or a job whose run is still to be opened, is of another server process.
local function server_changed(id)
  local before = redis.call('HGET', P .. id, 'server')
  return before and before ~= this_server()
end

-- A server process that did not give the last id may have forgotten events that were read: it lost its last moments, or
-- is a replica or a back-up. Their ids are skipped, so that none is given twice.
local function leap(run)
  if server_changed(run) then
    redis.call('HINCRBY', P .. run, 'seq', LEAP)
    redis.call('HSET', P .. run, 'server', this_server())
  end
end

-- Appends one event to a run's stream under the next id, and wakes its readers.
local function emit(run, kind, data)
  leap(run)
  local id = redis.call('HINCRBY', P .. run, 'seq', 1)
  redis.call('XADD', P .. run .. ':events', id .. '-0', 'type', kind, 'data', data, 'at', now)
  wake(run, kind == 'text' and 'text' or 'state')
  return id
end
