-- Which row a worker was started with: `a.row` (JSON text; absent where a models file has it).

-- Whether the worker's model was removed meanwhile and added again with another row: it holds the wrong model.
function Claims.outdated()
  local row = a.row and call('HGET', P .. 'models', a.lane)
  return row and row ~= a.row
end

local function claimed(id)
  local terms = not is_run(id) and get(id, 'terms')
  local request, attempt, chars, caller, mixed, unstored, model, class, since, request_id, trace, rows =
    fields(id, 'request', 'attempt', 'chars', 'caller', 'mixed', 'unstored',
      'model', 'priority', 'queued_at', 'request_id', 'trace', 'rows')
  return { id, request, terms or '', attempt, chars or 0, caller, mixed or '', unstored or '', model or '', class or '',
    since and math.max(now - since, 0) or 0, request_id or '', trace or '', tonumber(rows or 1) }
end

-- Where workers are often empty, one is empty within this time; where they never are, a longer wait would not help.
local PATIENCE_MS = 2000

local function take(id, turn, rows)
  if turn then
    Queue.take_turn(a.lane, turn)
    if call('ZREM', P .. 'queue:' .. a.lane, id) == 1 then
      count_rows('queue:' .. a.lane, rows, -1)
    end
    if call('EXISTS', P .. 'queue:' .. a.lane) == 0 then
      Queue.forget_turns(a.lane)
    end
  else
    Queue.withdraw(id, a.lane)
  end
end

-- Takes ended work out of its line without charging its caller. The end itself does so, unless the work had ended
-- before or its record says that it stands elsewhere: it would be met here for ever.
local function drop(id, turn)
  if turn then
    Queue.quit_line(id, a.lane, turn.class, turn.caller)
  end
  Queue.withdraw(id, a.lane)
end

-- The run that meanwhile answered the same request under this worker's fingerprint.
local function answered(id)
  local join, chars = fields(id, 'join', 'chars')
  local run = join and chars == 0 and call('GET', P .. 'cache:' .. join .. ':' .. a.print)
  return run and get(run, 'state') == 'succeeded' and run or nil
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
  for _, entry in ipairs(call('XRANGE', P .. run .. ':events', '-', '+')) do
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
  local result, bare, origin = fields(from, 'result', 'bare', 'origin')
  put(id, 'print', a.print, 'from', from, 'result', result, 'bare', bare, 'origin', origin)
  for _, data in ipairs(whole_texts(from)) do
    Events.emit(id, 'text', data)
  end
  for _, job in ipairs(Runs.live_jobs(id)) do
    put(job, 'cache', 'HIT')
  end
  Runs.end_run(id, 'succeeded', nil)
end

-- Answers copied in one call at most.
local COPIES = 1

-- After so many other ends the function returns, so that others have their turn at the store.
local ENDS = 20

-- Pieces of work of a newer release that are stepped over.
local STEPS = 100

-- Takes the best waiting work of one lane under a lease.
--   a      lane, worker, token (128 random bits of the claimer), print (its fingerprint), row (see above), slots (rows
--          that the worker's claims may take; the last run may take more, so that no wide one waits for ever), lease_ms,
--          failures (see runs.lua), removed (JSON, the error of jobs whose model was removed), result_s, job_s,
--          event_s, max_events
--   writes queue:<lane> zset and its lines, lease zset, running:<lane> and held:<worker> sets, extra and <work> hashes,
--          claim:<token> string, emptying:<lane> string; text of another fingerprint that nobody
--          has read is taken out of <run>:events
--   returns {id, request, terms, attempt number, published characters, caller,
--           mixed (1 = text was published under another fingerprint), unstored (1 = nothing of the run is to be kept),
--           model, class, how long it stood in line (ms), request_id and trace of the call that asked first, rows},
--           `full` where work waits but this worker holds as much as it may, `again` where much of the line was ended
--           first, or nil when nothing can be taken
--   repeat with the same token (a lost reply) answers the same claim
--   events running {attempt} | text …, succeeded (an answer that was cached meanwhile) | failed
transition('claim', { 'allow-oom' }, function()
  local again = call('GET', P .. 'claim:' .. a.token)
  if again then
    return get(again, 'token') == a.token and claimed(again) or nil
  end
  if call('SISMEMBER', P .. 'paused', a.lane) == 1 or call('SISMEMBER', P .. 'removed', a.lane) == 1
    or Claims.outdated() then
    return nil
  end
  local OWN = 'held:' .. a.worker
  local HELD = P .. OWN
  local EMPTYING = P .. 'emptying:' .. a.lane

  -- Whether this worker may take a suspect: 'take' where the worker holds nothing and nothing more urgent waits, or the
  -- suspect has waited long enough; 'wait' where the worker must become empty first; 'no' where another one does so, or
  -- no suspect waits.
  local function turn_of_suspect(suspect, held)
    if not suspect then
      return 'no'
    end
    local class, since = fields(suspect, 'priority', 'queued_at')
    if not class then
      Queue.withdraw(suspect, a.lane)
      return 'no'
    end
    -- A suspect queued before the clock was set back has waited long enough.
    local patient = math.abs(now - (since or 0)) <= PATIENCE_MS
    if held == 0 then
      local turn = patient and Queue.next_turn(a.lane)
      return turn and Queue.rank(turn.class) < Queue.rank(class) and 'no' or 'take'
    end
    if not patient then
      -- The worker's beats prolong this (`beat`).
      call('SET', EMPTYING, a.worker, 'NX', 'PX', a.lease_ms)
    end
    if call('GET', EMPTYING) ~= a.worker then
      return 'no'
    end
    call('PEXPIRE', EMPTYING, a.lease_ms)
    return 'wait'
  end

  -- The next piece of work, taken out of the line; nil where there is none for this worker.
  local function next_piece()
    local held = call('SCARD', HELD)
    -- A suspect is alone with its worker.
    if held == 1 and Queue.is_suspect(call('SRANDMEMBER', HELD)) then
      return nil
    end
    local suspect = Queue.first_of(P .. 'suspects:' .. a.lane)
    local word = turn_of_suspect(suspect, held)
    if word == 'wait' then
      return nil
    end
    if word == 'take' then
      call('DEL', EMPTYING)
      return suspect
    end
    local turn = Queue.next_turn(a.lane)
    return turn and turn.id, turn
  end

  -- Marks work that is not alone with this worker. Where two or more are held, they are marked already.
  local function keep_company(id, rows)
    local held = call('SCARD', HELD)
    if held == 1 then
      put(call('SRANDMEMBER', HELD), 'company', 1)
    end
    if held > 0 then
      put(id, 'company', 1)
    end
    call('SADD', HELD, id)
    count_rows(OWN, rows, 1)
  end

  local function lease(id)
    local attempt = increase(id, 'attempt', 1)
    if attempt == 1 then
      local run = record(id)
      local changed = run and Estimates.score(run, Queue.lane(a.lane)) or {}
      if #changed > 0 then
        call('HSET', P .. 'lane:' .. a.lane, unpack(changed))
      end
    end
    local print, chars, started, rows = fields(id, 'print', 'chars', 'started', 'rows')
    put(id, 'state', 'running', 'token', a.token, 'worker', a.worker, 'due', 0, 'started', started or now)
    if is_run(id) then
      put(id, 'print', a.print)
      -- Text that a reader has must go on or fail; text that nobody has read is computed anew.
      if print and print ~= a.print and chars ~= 0 and not Events.unsay(id) then
        put(id, 'mixed', 1)
      end
    end
    call('ZADD', P .. 'lease', now + a.lease_ms, id)
    call('SADD', P .. 'running:' .. a.lane, id)
    count_rows('running:' .. a.lane, rows, 1)
    keep_company(id, rows)
    call('SET', P .. 'claim:' .. a.token, id, 'PX', 60000)
    Queue.open_attempt(id, attempt, a.worker)
    if is_run(id) then
      if attempt > 1 then
        Events.emit(id, 'running', cjson.encode({ attempt = attempt }))
      else
        put(id, 'running_id', Events.number(id, 'running'))
        Runs.announce_beginning(id)
      end
    end
    return claimed(id)
  end

  -- Whether this worker's claims take all its rows. Before the worker is sent away they are counted anew: an older release
  -- that ends a run does not take it off `extra`, and the audit comes by only every few minutes.
  local function is_full()
    local held = a.slots and call('SCARD', HELD) or 0
    if not a.slots or held + extra_rows(OWN) < a.slots then
      return false
    end
    if held >= a.slots then
      return true
    end
    local rows = 0
    for _, id in ipairs(call('SMEMBERS', HELD)) do
      rows = rows + tonumber(get(id, 'rows') or 1)
    end
    return rows >= a.slots
  end

  -- A worker with room takes what is next, however wide: so a wide run keeps its turn, and an empty worker always has room.
  if is_full() then
    return call('EXISTS', P .. 'queue:' .. a.lane) == 1 and 'full' or nil
  end
  local newer, copies, ends, taken = {}, 0, 0, nil
  while not taken and copies < COPIES and ends < ENDS and #newer < STEPS do
    local id, turn = next_piece()
    if not id then
      break
    end
    local state, version, rows = fields(id, 'state', 'v', 'rows')
    if state == 'queued' and tonumber(version or 1) > VERSION then
      Queue.withdraw(id, a.lane)
      table.insert(newer, id)
    elseif state ~= 'queued' then
      take(id, turn, rows)
      ends = ends + 1
    elseif Queue.superseded(id) then
      ends = ends + 1
      Runs.fail_work(id, a.removed)
      drop(id, turn)
    else
      local stays, left = Runs.leave_late(id, 'start_by')
      local earlier = stays and is_run(id) and answered(id)
      ends = ends + left
      if not stays then
        drop(id, turn)
      elseif earlier then
        if Runs.leave_late(id, 'finish_by') then
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
    Queue.stand(id, a.lane)
  end
  return taken or (copies == COPIES or ends >= ENDS) and 'again' or nil
end)

-- Longer than a claim's reply takes to reach the worker.
local UNHEARD_MS = 3000

-- Renews every lease that one worker holds, and puts claims back in line whose reply never reached the worker: those
-- count as no worker's death.
--   a      worker, claims {{id, token}, …}, lease_ms, result_s, job_s, event_s, max_events
--   writes lease zset, and what queue.lua writes
--   returns the tokens that are no longer good
--   events requeued {reason = claim_lost}
transition('renew', { 'allow-oom' }, function()
  local lost, named = {}, {}
  for _, claim in ipairs(a.claims) do
    named[claim[1]] = true
    if get(claim[1], 'token') == claim[2] then
      call('ZADD', P .. 'lease', now + a.lease_ms, claim[1])
    else
      table.insert(lost, claim[2])
    end
  end
  for _, id in ipairs(call('SMEMBERS', P .. 'held:' .. a.worker)) do
    local till = not named[id] and call('ZSCORE', P .. 'lease', id)
    if till and now - (till - a.lease_ms) > UNHEARD_MS then
      Queue.requeue(id, 'claim_lost')
    end
  end
  return lost
end)

-- Ends a run with the outcome of its attempt; only the holder of the claim can.
--   a      id, token, status (succeeded | failed), print, took_ms (where it succeeded), failures (see
--          runs.lua), rest {{choice, start, size, data}, …} (of the text, where some is not published yet), result_s,
--          job_s, event_s, max_events, bare (the result without its logprobs, where it has some),
--          origin (JSON text, what made it, for its receipt)
--   text   result or error, as JSON
--   writes <run> hash, cache:<key>:<print> string, lane:<lane> hash, blob:<digest> zset, and what runs.lua writes
--   returns settled | lost (as `append`)
--   repeat by the same claim answers settled
--   events succeeded | failed
transition('settle', { 'allow-oom' }, function()
  if not record(a.id) then
    return 'lost'
  end
  local token, by, lane, join, mixed, blobs =
    fields(a.id, 'token', 'settled_by', 'lane', 'join', 'mixed', 'blobs')
  if by == a.token then
    return 'settled'
  end
  if token ~= a.token then
    return 'lost'
  end
  if not Runs.leave_late(a.id, 'finish_by') then
    return 'lost'
  end
  for _, piece in ipairs(a.rest or {}) do
    if not Events.publish(a.id, piece, piece.data) then
      return 'lost'
    end
  end
  if a.status == 'failed' then
    put(a.id, 'settled_by', a.token)
    Runs.fail_work(a.id, text, true)
    return 'settled'
  end
  put(a.id, 'settled_by', a.token, 'result', text, 'bare', a.bare, 'origin', a.origin)
  -- An answer begun under one fingerprint and ended under another is nobody's cached answer.
  if join and not mixed then
    local entry = P .. 'cache:' .. join .. ':' .. a.print
    call('SET', entry, a.id, 'EX', Runs.retention(a.id, a.result_s))
    put(a.id, 'entry', entry)
  end
  local old = call('HGET', P .. 'lane:' .. lane, 'service_ms')
  Estimates.note(lane, 'service_ms', Estimates.service_ms(tonumber(old), a.took_ms))
  -- This attempt has read the pictures: a worker that missed them may have looked into an empty folder.
  for digest in string.gmatch(blobs or '', '%S+') do
    Files.regain(digest)
  end
  Runs.end_run(a.id, 'succeeded', nil, true)
  return 'settled'
end)

-- Puts claimed work back in line, or ends it where its budget of failures is spent.
--   a      id, token, reason, spend (true = count a failure), max_failures, backoff_ms (after the first failure,
--          doubled by each), failure (JSON), missing (digests that the blob store lacks), died (true = the worker ends
--          because of this attempt, or one beside it), max_deaths, poison (JSON), result_s, job_s, event_s, max_events
--   writes <work> hash, lease zset, queue:<lane> zset and its lines, schedule zset, blob:<digest> zset
--   returns {queued, lane} | {postponed} | {failed} | {lost}
--   events requeued {reason} | failed
transition('give_back', { 'allow-oom' }, function()
  if get(a.id, 'token') ~= a.token then
    return { 'lost' }
  end
  for _, digest in ipairs(a.missing or {}) do
    Files.miss(digest)
  end
  if a.died and Queue.count_death(a.id) then
    Runs.fail_work(a.id, a.poison)
    return { 'failed' }
  end
  local failures = a.spend and increase(a.id, 'failures', 1) or 0
  if a.spend and failures >= a.max_failures then
    Runs.fail_work(a.id, a.failure)
    return { 'failed' }
  end
  if a.spend and a.backoff_ms > 0 then
    Queue.leave_lease(a.id, get(a.id, 'lane'), a.reason)
    Queue.postpone(a.id, 'retrying', now + math.min(a.backoff_ms * 2 ^ (failures - 1), Queue.LONGEST_PAUSE_MS))
    return { 'postponed' }
  end
  if a.reason == 'queue_full' then
    -- The job found no place, and pays for its next turn again: free turns in vain would go before everybody's.
    put(a.id, 'due', get(a.id, 'cost') or 1)
  end
  return { 'queued', Queue.requeue(a.id, a.reason) }
end)

-- Ends a job whose inputs cannot be had; only the holder of the intake claim can.
--   a      id, token, failure (JSON), result_s, job_s, event_s, max_events
--   writes <job> hash, lease zset
--   returns settled | lost
transition('fail_intake', { 'allow-oom' }, function()
  if get(a.id, 'settled_by') == a.token then
    return 'settled'
  end
  if get(a.id, 'token') ~= a.token then
    return 'lost'
  end
  put(a.id, 'settled_by', a.token)
  Runs.fail_work(a.id, a.failure)
  return 'settled'
end)
