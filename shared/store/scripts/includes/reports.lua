-- The ends of jobs, for a courier's log: ended list of JSON rows, written while somebody reads them (ended.lua).

-- At most so many reports wait for a reader, and for at most so long.
local MOST_REPORTS = 20000
local REPORTS_S = 3600
-- The time to live is renewed once in so many reports.
local REPORTS_A_LOOK = 100

local function report_end(job, record, answer)
  if redis.call('EXISTS', P .. 'reading') == 0 then
    return
  end
  local told = record.status == 'succeeded' and (answer.bare or answer.result)
  local waiting = redis.call('RPUSH', P .. 'ended', cjson.encode({
    job = job, status = record.status, caller = record.caller, model = record.model, class = record.priority,
    created = record.created, ended = now, cache = record.cache, run = record.run, request_id = record.request_id,
    placed = answer.created, started = answer.started, attempt = answer.attempt,
    code = record.error and cjson.decode(record.error).code or nil,
    -- Copied as written. Inside a text a quote has a backslash before it, so the pattern matches no text.
    usage = told and string.match(told, '"usage":(%b{})') or nil,
  }))
  if waiting > MOST_REPORTS then
    redis.call('LTRIM', P .. 'ended', -MOST_REPORTS, -1)
  end
  if waiting % REPORTS_A_LOOK == 1 then
    redis.call('EXPIRE', P .. 'ended', REPORTS_S)
  end
end
