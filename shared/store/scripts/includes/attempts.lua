-- A run's attempts: JSON rows {number, worker, started, ended, outcome}, times in Unix ms.

local function open_attempt(id, number, worker)
  redis.call('RPUSH', P .. id .. ':attempts', cjson.encode({ number = number, worker = worker, started = now }))
end

local function close_attempt(id, outcome)
  local key = P .. id .. ':attempts'
  local row = redis.call('LINDEX', key, -1)
  if not row then
    return
  end
  local attempt = cjson.decode(row)
  if not attempt.ended then
    attempt.ended = now
    attempt.outcome = outcome
    redis.call('LSET', key, -1, cjson.encode(attempt))
  end
end
