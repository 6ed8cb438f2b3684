-- Work under a lease: a worker claims it, renews, settles or gives it back. Every write names the claim's token.

-- Whether the worker holds the wrong model: it was removed, and added again with another row than `a.row` (JSON).
function Claims.outdated()
  local row = a.row and call('HGET', P .. 'models', a.lane)
  return row and row ~= a.row
end

local function claimed(work, terms)
  local request, class = call('GET', P .. work.id .. ':asked'), FairQueue.CLASSES[FairQueue.rank(work)]
  return { work.id, request or '', terms or '', work.attempt, work.t.chars or 0, work.caller, work.mixed or '',
    work.unstored or '', work.model or '', class, math.max(now - work.queued_at, 0), work.request_id or '',
    work.trace or '', work.rows or 1 }
end

-- Workers that are often empty are so within this time; for others a longer wait would not help.
local PATIENCE_MS = 1000

-- In a lane with suspects: `take` if this worker may take the first, because it holds nothing and nothing more urgent
-- waits, or the suspect waited long enough; `wait` if it must become empty first; `no` if another one does so.
local function turn_of_suspect(lane, suspect, count)
  local emptying = P .. 'emptying:' .. lane.name
  local patient = now - suspect.queued_at <= PATIENCE_MS
  if count == 0 then
    local class = FairQueue.rank(suspect)
    local urgent = class > 1 and lane.n1 > 0 or class > 2 and lane.n2 > 0
    return patient and urgent and 'no' or 'take'
  elseif not patient then
    -- The worker's beats prolong this (`beat`).
    call('SET', emptying, a.worker, 'NX', 'PX', S.lease_ms)
  end
  if call('GET', emptying) ~= a.worker then
    return 'no'
  end
  call('PEXPIRE', emptying, S.lease_ms)
  return 'wait'
end

-- Takes the next piece of work out of the line: its id and its turn, if any; or nil, and whether there may be more.
local function next_piece(lane, claims, count)
  local _, only = next(claims)
  local single = count == 1 and stored((FairQueue.parts_of(only)))
  if single and FairQueue.is_suspect(single) then
    -- A suspect is alone with its worker.
    return nil
  end
  local has_suspects = lane.x1 + lane.x2 + lane.x3 > 0
  local id = has_suspects and call('ZRANGE', P .. 'suspects:' .. lane.name, 0, 0)[1]
  if has_suspects and not id then
    -- The rest could not be read.
    lane.x1, lane.x2, lane.x3, lane.changed = 0, 0, 0, true
  end
  local suspect = id and stored(id)
  if id and not suspect then
    call('ZREM', P .. 'suspects:' .. lane.name, id)
    return nil, true
  end
  local word = suspect and turn_of_suspect(lane, suspect, count) or 'no'
  if word == 'wait' then
    return nil
  elseif word == 'take' then
    call('DEL', P .. 'emptying:' .. lane.name)
    FairQueue.withdraw(lane, suspect)
    return id
  end
  local turn, more = FairQueue.next(lane, a.aside or {})
  return turn and turn.id, turn or more
end

-- Attempts that a record lists, the first and the last ones: a run whose pictures cannot be read may have more.
local MOST_ATTEMPTS = 50

-- Puts work under a lease of this worker.
local function lease(lane, work, claims, count)
  work.attempt = (work.attempt or 0) + 1
  if work.attempt == 1 then
    Estimates.score(lane, work)
    Metrics.count_wait(lane, now - work.queued_at - Lanes.paused_ms(lane, work.queued_at))
  end
  local t, print = work.t, work.print
  work.state, work.worker, work.started, t.token = 'running', a.worker, work.started or now, a.token
  if is_computed(work) then
    work.print = a.print
    -- Text that a reader has must be continued; text that nobody has read is computed anew.
    if print and print ~= a.print and t.chars and not Events.take_back(work) then
      work.mixed = 1
    end
  end
  local key = P .. 'held:' .. a.worker
  if count == 1 then
    -- The first claim is no longer alone. Two or more are marked already.
    local token, only = next(claims)
    call('HSET', key, token, string.match(only, '^[^*]+') .. '*')
  end
  call('HSET', key, a.token, string.format('%s %s %d%s', work.id, lane.name, work.rows or 1, count > 0 and '*' or ''))
  call('ZADD', P .. 'lease:' .. lane.name, now + S.lease_ms, work.id)
  FairQueue.count_claimed(work, 1)
  lane.wide_running = lane.wide_running + FairQueue.extra_rows(work)
  work.attempts = work.attempts or {}
  if #work.attempts >= MOST_ATTEMPTS then
    table.remove(work.attempts, 2)
  end
  table.insert(work.attempts, { number = work.attempt, worker = a.worker, started = now })
  if is_computed(work) and work.attempt > 1 then
    Events.emit(work, 'running', cjson.encode({ attempt = work.attempt }))
  elseif is_computed(work) then
    work.running_id = Events.number(work)
    wake(work.id, 'event')
    Runs.announce_beginning(work)
  end
  write(work)
end

local LOOKS = 8 -- jobs that are looked at for the cost of one that ends

-- Ends a piece that is not to be computed, or leases and returns it. Returns also what its ends cost.
local function begin(lane, id, turn, claims, count)
  local work, terms = stored(id, 'terms')
  if not work or work.state ~= 'queued' then
    return nil, 1
  end
  if turn then
    lane.wide_queued = math.max(lane.wide_queued - FairQueue.extra_rows(work), 0)
  end
  if Lanes.superseded(work) then
    return nil, Runs.fail_work(work, S.removed)
  end
  local stays, cost, looked_at = Runs.fail_late(work)
  if stays and cost > 0 then
    -- The run may be less urgent by now, and another one first.
    FairQueue.enqueue(lane, work)
    write(work)
  end
  if not stays or cost > 0 then
    return nil, cost + math.floor(looked_at / LOOKS)
  end
  if turn then
    FairQueue.charge(lane, turn, work.cost)
  end
  lease(lane, work, claims, count)
  return claimed(work, terms), 0
end

-- The rows that claims take.
local function rows_of(claims)
  local sum = 0
  for _, claim in pairs(claims) do
    sum = sum + string.match(claim, '^%S+ %S+ (%d+)')
  end
  return sum
end

-- Takes the best waiting work of one lane under a lease, no more than `slots` rows (the last run may take more, so that
-- no wide one waits for ever), and of no caller in `aside` ({caller: true}). Returns the fields of `Claim` in
-- shared/store/claims.py, `full` if work waits but this worker holds as much as it may, `again` if much was ended
-- first, nil if nothing can be taken. A repeat with the same token (a lost reply) answers the same claim.
transition('claim', { 'allow-oom' }, function()
  local claims, count = FairQueue.claims_of(a.worker)
  local before = claims[a.token]
  if before then
    local work, terms = stored((FairQueue.parts_of(before)), 'terms')
    return work and work.t.token == a.token and claimed(work, terms) or nil
  end
  local lane = Lanes.of(a.lane)
  if a.lane == 'batch' and lane.later > 0 then
    -- A batch's next turn does not wait for a round of maintenance.
    Upkeep.start_due(Runs.PIECE)
  end
  if lane.paused or lane.removed or Claims.outdated() or FairQueue.waiting(lane) == 0 then
    return nil
  elseif a.slots and rows_of(claims) >= a.slots then
    return 'full'
  end
  local spent = 0
  while spent < Runs.PIECE do
    local id, turn = next_piece(lane, claims, count)
    if not id then
      return turn and 'again' or nil
    end
    local claim, cost = try(begin, id, lane, id, turn, claims, count)
    if claim then
      return claim
    end
    spent = spent + (cost or 1)
  end
  return 'again'
end)

local UNHEARD_MS = 3000 -- ms, longer than a claim's reply takes to reach the worker

-- Renews every lease that one worker holds ({id, token}, …), and puts claims back in line whose reply never reached it,
-- which counts as no death. Returns the tokens that are no longer good.
transition('renew', { 'allow-oom' }, function()
  local claims, lost, named = FairQueue.claims_of(a.worker), {}, {}
  for _, claim in ipairs(a.claims) do
    local token = claim[2]
    named[token] = true
    local _, lane = FairQueue.parts_of(claims[token] or '')
    local key, id = P .. 'lease:' .. (lane or ''), claim[1]
    if not lane or call('ZADD', key, 'XX', 'CH', now + S.lease_ms, id) == 0 and not call('ZSCORE', key, id) then
      table.insert(lost, token)
    end
  end
  for token, claim in pairs(claims) do
    local id, lane = FairQueue.parts_of(claim)
    local till = not named[token] and call('ZSCORE', P .. 'lease:' .. lane, id)
    if not named[token] and not till then
      -- Its record could not be read when its lease was taken.
      call('HDEL', P .. 'held:' .. a.worker, token)
    elseif till and now - (till - S.lease_ms) > UNHEARD_MS then
      local work = stored(id)
      if work and work.t.token == token then
        FairQueue.requeue(work, 'claim_lost')
      end
    end
  end
  return lost
end)

-- The data of what is left of a run's text, in pieces {choice, start, size, data}; false if one is out of place.
local function unpublished(run, pieces)
  local datas = {}
  for _, piece in ipairs(pieces) do
    local word = Events.follows(run, piece)
    if not word then
      return false
    elseif word == 'new' then
      table.insert(datas, piece.data)
    end
  end
  return datas
end

-- Ends a run with the outcome of its attempt, or a job whose inputs cannot be had; only the holder of the claim can.
-- The arguments are those of `settle` in shared/store/claims.py. Returns settled | lost (as `append`) | again (many of
-- its jobs were late: ask once more). A repeat by the same claim answers settled.
transition('settle', { 'allow-oom' }, function()
  local run = stored(a.id)
  if run and run.settled_by == a.token then
    return 'settled'
  elseif not run or run.t.token ~= a.token then
    return 'lost'
  elseif not is_computed(run) then
    run.settled_by = a.token
    Runs.fail_work(run, text)
    return 'settled'
  end
  local stays, cost = Runs.fail_late(run)
  if not stays or cost >= Runs.PIECE then
    return stays and 'again' or 'lost'
  end
  local datas = unpublished(run, a.rest or {})
  if not datas then
    return 'lost'
  end
  run.settled_by = a.token
  local texts = { rest = #datas > 0 and Events.rest(run, datas) or nil }
  if a.status == 'failed' then
    call('HINCRBY', P .. 'lane:' .. run.lane, 'failures', 1)
    Runs.end_run(run, 'failed', text, true, texts)
    return 'settled'
  end
  texts.result, texts.bare, texts.origin = text, a.bare, a.origin
  -- An answer begun under one fingerprint and ended under another is not cached; one without `print` is not, either.
  local entry = not run.mixed and Runs.cache_key(run, a.print)
  if entry then
    call('SET', entry, run.id, 'EX', Runs.answer_s(run))
  end
  Estimates.learn_service(run.lane, a.took_ms)
  -- This attempt has read the pictures: a worker that missed them may have looked into an empty folder.
  Files.clear_missing(run.missed and run.blobs)
  Runs.end_run(run, 'succeeded', nil, true, texts)
  return 'settled'
end)

local LONGEST_PAUSE_MS = 60000 -- ms between two attempts at a run; the settings bound the backoff alike

-- Puts claimed work back in line, or ends it if its budget of failures is spent, or its model removed. The arguments
-- are those of `give_back` in shared/store/claims.py; `spend`: count a failure. Returns {queued, lane} | {postponed} |
-- {failed} | {lost}.
transition('give_back', { 'allow-oom' }, function()
  local work = stored(a.id)
  if not work or work.t.token ~= a.token then
    return { 'lost' }
  end
  for _, digest in ipairs(a.missing or {}) do
    Files.mark_missing(digest)
    work.missed = 1
  end
  if a.died and FairQueue.count_death(work) then
    return { 'failed' }
  end
  work.failures = (work.failures or 0) + (a.spend and 1 or 0)
  work.attempts[#work.attempts].error = a.cause
  -- Inputs are not awaited for longer than a job may stay in line.
  local too_late = a.request and now + a.pause >= (work.finish_by or work.created + S.expire_ms)
  if a.spend and work.failures >= (a.most or S.max_failures) or too_late then
    Runs.fail_work(work, a.failure)
    return { 'failed' }
  end
  local pause = a.pause
  if a.request then
    call('SET', P .. work.id .. ':asked', a.request)
  elseif (a.spend or a.reason == 'store_unavailable') and S.backoff_ms > 0 then
    -- If pictures cannot be read, the run waits, and not the thread and the line behind it.
    local tries = a.spend and work.failures or math.min(work.attempt, 5)
    pause = math.min(S.backoff_ms * 2 ^ (tries - 1), LONGEST_PAUSE_MS)
  end
  if not FairQueue.requeue(work, a.reason, pause) then
    return { 'failed' }
  end
  return pause and { 'postponed' } or { 'queued', work.lane }
end)
