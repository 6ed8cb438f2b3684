-- The ends of jobs, for a courier's log: ended list of JSON rows, written while somebody reads them (ended.lua).

-- So many at most wait for a reader who does not come, and for so long.
local MOST_REPORTS = 20000
local REPORTS_S = 3600

local function report_end(job, status, failure)
  if redis.call('EXISTS', P .. 'reading') == 0 then
    return
  end
  local caller, model, class, created, cache, run, request_id = unpack(
    redis.call('HMGET', P .. job, 'caller', 'model', 'priority', 'created', 'cache', 'run', 'request_id'))
  local started, attempt, result, bare =
    unpack(run and redis.call('HMGET', P .. run, 'started', 'attempt', 'result', 'bare') or {})
  local told = status == 'succeeded' and (bare or result)
  redis.call('RPUSH', P .. 'ended', cjson.encode({
    job = job, status = status, caller = caller, model = model, class = class, created = created, ended = now,
    cache = cache or nil, run = run or nil, request_id = request_id or nil, started = started or nil,
    attempt = attempt or nil, code = failure and cjson.decode(failure).code or nil,
    -- As it is written: a quote inside a text has a backslash before it, so this is no text.
    usage = told and string.match(told, '"usage":(%b{})') or nil,
  }))
  redis.call('LTRIM', P .. 'ended', -MOST_REPORTS, -1)
  redis.call('EXPIRE', P .. 'ended', REPORTS_S)
end
