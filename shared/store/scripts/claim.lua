-- Takes the best waiting work of one lane under a lease.
--   a      lane, worker, token (128 random bits of the claimer), print (its fingerprint), row (see rows.lua), slots (rows
--          that the worker's claims may take; the last run may take more, so that no wide one waits for ever), lease_ms,
--          failures (see late.lua), removed (JSON, the error of jobs whose model was removed), result_s, job_s,
--          event_s, max_events
--   writes queue:<lane> zset and its lines, lease zset, running:<lane> and held:<worker> sets, extra and <work> hashes,
--          <work>:attempts list, claim:<token> string, emptying:<lane> string; text of another fingerprint that nobody
--          has read is taken out of <run>:events
--   returns {id, request, terms, attempt number, published characters, caller,
--           mixed (1 = text was published under another fingerprint), unstored (1 = nothing of the run is to be kept),
--           model, class, how long it stood in line (ms), request_id and trace of the call that asked first, rows},
--           `full` where work waits but this worker holds as much as it may, `again` where much of the line was ended
--           first, or nil when nothing can be taken
--   repeat with the same token (a lost reply) answers the same claim
--   events running {attempt} | text …, succeeded (an answer that was cached meanwhile) | failed
-- @include base
-- @include ending
-- @include outlook
-- @include late
-- @include rows
-- @include text

local function claimed(id)
  local request, terms, attempt, chars, caller, mixed, unstored, model, class, since, request_id, trace, rows =
    unpack(redis.call('HMGET', P .. id, 'request', 'terms', 'attempt', 'chars', 'caller', 'mixed', 'unstored',
      'model', 'priority', 'queued_at', 'request_id', 'trace', 'rows'))
  return { id, request, terms or '', attempt, chars or '0', caller, mixed or '', unstored or '', model or '', class or '',
    since and math.max(now - since, 0) or 0, request_id or '', trace or '', tonumber(rows or 1) }
end

local again = redis.call('GET', P .. 'claim:' .. a.token)
if again then
  return redis.call('HGET', P .. again, 'token') == a.token and claimed(again) or nil
end
if redis.call('SISMEMBER', P .. 'paused', a.lane) == 1 or redis.call('SISMEMBER', P .. 'removed', a.lane) == 1
  or outdated() then
  return nil
end
dirty_first()

local OWN = 'held:' .. a.worker
local HELD = P .. OWN
local EMPTYING = P .. 'emptying:' .. a.lane
-- Where workers are often empty, one is empty within this time; where they never are, a longer wait would not help.
local PATIENCE_MS = 2000

-- Whether this worker may take a suspect: 'take' where the worker holds nothing and nothing more urgent waits, or the
-- suspect has waited long enough; 'wait' where the worker must become empty first; 'no' where another one does so, or
-- no suspect waits.
local function turn_of_suspect(suspect, held)
  if not suspect then
    return 'no'
  end
  local class, since = unpack(redis.call('HMGET', P .. suspect, 'priority', 'queued_at'))
  if not class then
    withdraw(suspect, a.lane)
    return 'no'
  end
  -- A suspect queued before the clock was set back has waited long enough.
  local patient = math.abs(now - (since or 0)) <= PATIENCE_MS
  if held == 0 then
    local turn = patient and next_turn(a.lane)
    return turn and rank(turn.class) < rank(class) and 'no' or 'take'
  end
  if not patient then
    -- The worker's beats prolong this (beat.lua).
    redis.call('SET', EMPTYING, a.worker, 'NX', 'PX', a.lease_ms)
  end
  if redis.call('GET', EMPTYING) ~= a.worker then
    return 'no'
  end
  redis.call('PEXPIRE', EMPTYING, a.lease_ms)
  return 'wait'
end

-- The next piece of work, taken out of the line; nil where there is none for this worker.
local function next_piece()
  local held = redis.call('SCARD', HELD)
  -- A suspect is alone with its worker.
  if held == 1 and is_suspect(redis.call('SRANDMEMBER', HELD)) then
    return nil
  end
  local suspect = first_of(P .. 'suspects:' .. a.lane)
  local word = turn_of_suspect(suspect, held)
  if word == 'wait' then
    return nil
  end
  if word == 'take' then
    redis.call('DEL', EMPTYING)
    return suspect
  end
  local turn = next_turn(a.lane)
  return turn and turn.id, turn
end

local function take(id, turn, rows)
  if turn then
    take_turn(a.lane, turn)
    if redis.call('ZREM', P .. 'queue:' .. a.lane, id) == 1 then
      count_rows('queue:' .. a.lane, rows, -1)
    end
    if redis.call('EXISTS', P .. 'queue:' .. a.lane) == 0 then
      forget_turns(a.lane)
    end
  else
    withdraw(id, a.lane)
  end
end

-- Takes ended work out of its line without charging its caller. The end itself does so, unless the work had ended
-- before or its record says that it stands elsewhere: it would be met here for ever.
local function drop(id, turn)
  if turn then
    quit_line(id, a.lane, turn.class, turn.caller)
  end
  withdraw(id, a.lane)
end

-- The run that meanwhile answered the same request under this worker's fingerprint.
local function answered(id)
  local join, chars = unpack(redis.call('HMGET', P .. id, 'join', 'chars'))
  local run = join and chars == '0' and redis.call('GET', P .. 'cache:' .. join .. ':' .. a.print)
  return run and redis.call('HGET', P .. run, 'state') == 'succeeded' and run or nil
end

-- Adds the data of a text event to the earlier data of the same answer.
local function add_piece(answer, data, written)
  table.insert(answer.texts, data.text)
  for _, id in ipairs(data.ids) do
    table.insert(answer.ids, string.format('%.0f', id))
  end
  -- Copied as written. Inside a text a quote has a backslash before it, so the pattern matches no text.
  local rows = string.match(written, ',"logprobs":%[(.*)%]}$')
  if rows then
    answer.told = answer.told or {}
    if rows ~= '' then
      table.insert(answer.told, rows)
    end
  end
end

-- The answers of an ended run, each as one event's data. An empty list would become {} in cjson.
local function whole_texts(run)
  local answers, order, whole = {}, {}, {}
  for _, entry in ipairs(redis.call('XRANGE', P .. run .. ':events', '-', '+')) do
    local fields = entry[2]
    if fields[2] == 'text' then
      local data = cjson.decode(fields[4])
      local choice = data.choice and '"choice":' .. data.choice .. ',' or ''
      choice = choice .. (data.syntax and '"syntax":"' .. data.syntax .. '",' or '')
      if not answers[choice] then
        answers[choice] = { texts = {}, ids = {} }
        table.insert(order, choice)
      end
      add_piece(answers[choice], data, fields[4])
    end
  end
  for _, choice in ipairs(order) do
    local answer = answers[choice]
    local told = answer.told and ',"logprobs":[' .. table.concat(answer.told, ',') .. ']' or ''
    table.insert(whole, '{' .. choice .. '"start":0,"text":' .. cjson.encode(table.concat(answer.texts))
      .. ',"ids":[' .. table.concat(answer.ids, ',') .. ']' .. told .. '}')
  end
  return whole
end

-- Ends a run with what another one answered.
local function copy(id, from)
  redis.call('HSET', P .. id, 'print', a.print, 'from', from)
  for _, name in ipairs({ 'result', 'bare', 'origin' }) do
    local value = redis.call('HGET', P .. from, name)
    if value then
      redis.call('HSET', P .. id, name, value)
    end
  end
  for _, data in ipairs(whole_texts(from)) do
    emit(id, 'text', data)
  end
  for _, job in ipairs(redis.call('SMEMBERS', P .. id .. ':live')) do
    redis.call('HSET', P .. job, 'cache', 'HIT')
  end
  end_run(id, 'succeeded', nil)
end

-- Marks work that is not alone with this worker. Where two or more are held, they are marked already.
local function keep_company(id, rows)
  local held = redis.call('SCARD', HELD)
  if held == 1 then
    redis.call('HSET', P .. redis.call('SRANDMEMBER', HELD), 'company', 1)
  end
  if held > 0 then
    redis.call('HSET', P .. id, 'company', 1)
  end
  redis.call('SADD', HELD, id)
  count_rows(OWN, rows, 1)
end

local function lease(id)
  local key = P .. id
  local attempt = redis.call('HINCRBY', key, 'attempt', 1)
  if attempt == 1 then
    score(id, a.lane)
  end
  local print, chars, started, rows = unpack(redis.call('HMGET', key, 'print', 'chars', 'started', 'rows'))
  local record = { 'state', 'running', 'token', a.token, 'worker', a.worker, 'charged', 1, 'started', started or now }
  if is_run(id) then
    add(record, 'print', a.print)
    -- Text that a reader has must go on or fail; text that nobody has read is computed anew.
    add(record, 'mixed', print and print ~= a.print and chars ~= '0' and not unsay(id) and 1)
  end
  redis.call('HSET', key, unpack(record))
  redis.call('ZADD', P .. 'lease', now + a.lease_ms, id)
  redis.call('SADD', P .. 'running:' .. a.lane, id)
  count_rows('running:' .. a.lane, rows, 1)
  keep_company(id, rows)
  redis.call('SET', P .. 'claim:' .. a.token, id, 'PX', 60000)
  open_attempt(id, attempt, a.worker)
  if is_run(id) then
    emit(id, 'running', cjson.encode({ attempt = attempt }))
    if attempt == 1 then
      for _, job in ipairs(redis.call('SMEMBERS', key .. ':live')) do
        announce_beginning(job)
      end
    end
  end
  return claimed(id)
end

-- Answers copied in one call at most: each may end 256 jobs.
local COPIES = 4
-- After so many other ends the script returns, so that others have their turn at the store; one step may end 256 jobs.
local ENDS = 100
-- Pieces of work of a newer release that are stepped over.
local STEPS = 100

-- Whether this worker's claims take all its rows. Before the worker is sent away they are counted anew: an older release
-- that ends a run does not take it off `extra`, and the audit comes by only every few minutes.
local function is_full()
  local held = a.slots and redis.call('SCARD', HELD) or 0
  if not a.slots or held + extra_rows(OWN) < a.slots then
    return false
  end
  if held >= a.slots then
    return true
  end
  local rows = 0
  for _, id in ipairs(redis.call('SMEMBERS', HELD)) do
    rows = rows + tonumber(redis.call('HGET', P .. id, 'rows') or 1)
  end
  return rows >= a.slots
end

-- A worker with room takes what is next, however wide: so a wide run keeps its turn, and an empty worker always has room.
if is_full() then
  return redis.call('EXISTS', P .. 'queue:' .. a.lane) == 1 and 'full' or nil
end
local newer, copies, ends, taken = {}, 0, 0, nil
while not taken and copies < COPIES and ends < ENDS and #newer < STEPS do
  local id, turn = next_piece()
  if not id then
    break
  end
  local state, version, rows = unpack(redis.call('HMGET', P .. id, 'state', 'v', 'rows'))
  if state == 'queued' and tonumber(version or 1) > VERSION then
    withdraw(id, a.lane)
    table.insert(newer, id)
  elseif state ~= 'queued' then
    take(id, turn, rows)
  elseif superseded(id) then
    ends = ends + math.max(redis.call('SCARD', P .. id .. ':live'), 1)
    fail_work(id, a.removed)
    drop(id, turn)
  else
    local stays, left = leave_late(id, 'start_by')
    local earlier = stays and is_run(id) and answered(id)
    ends = ends + left
    if not stays then
      drop(id, turn)
    elseif earlier then
      if leave_late(id, 'finish_by') then
        copy(id, earlier)
      end
      copies = copies + 1
    elseif left == 0 then
      -- Otherwise the run may be less urgent by now, and it may be another's turn.
      take(id, turn, rows)
      taken = lease(id)
    end
  end
end
for _, id in ipairs(newer) do
  stand(id, a.lane)
end
return taken or (copies == COPIES or ends >= ENDS) and 'again' or nil
