-- Work under a lease: a worker claims it, renews, settles or gives it back; every write names the claim's token.

-- Whether the worker's model was removed meanwhile and added again with another row (`a.row`, JSON; absent where a models file
-- has it): it holds the wrong model.
function Claims.outdated()
  local row = a.row and call('HGET', P .. 'models', a.lane)
  return row and row ~= a.row
end

local function claimed(work, terms)
  return { work.id, call('GET', P .. work.id .. ':asked') or '', terms or '', work.attempt, work.t.chars or 0, work.caller, work.mixed or '',
    work.unstored or '', work.model or '', FairQueue.CLASSES[FairQueue.rank(work)], math.max(now - work.queued_at, 0), work.request_id or '',
    work.trace or '', work.rows or 1 }
end

-- Where workers are often empty, one is empty within this time; where they never are, a longer wait would not help.
local PATIENCE_MS = 1000

-- Of a lane with suspects: 'take' where this worker may take the first, because it holds nothing and nothing more urgent waits,
-- or the suspect has waited long enough; 'wait' where the worker must become empty first; 'no' where another one does so.
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

-- The next piece of work, taken out of the line: its id, and its turn where it had one; nil, and whether there may be more.
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

-- The attempts that a record lists, the first and the last ones: a run whose pictures cannot be read is tried for as long as that lasts.
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
    -- Text that a reader has must go on or fail; text that nobody has read is computed anew.
    if print and print ~= a.print and t.chars and not Events.take_back(work) then
      work.mixed = 1
    end
  end
  local key = P .. 'held:' .. a.worker
  if count == 1 then
    -- Whoever was alone is so no longer. Where two or more are held, they are marked already.
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

-- So many jobs that are only looked at count as one that ends.
local LOOKS = 8

-- Ends a piece that is not to be computed, or leases it. Returns it where it is leased, and what its ends cost.
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
    -- The run may be less urgent by now, and it may be another's turn.
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

-- Takes the best waiting work of one lane under a lease. `token`: 128 random bits of the claimer; `print`: its fingerprint;
-- `slots`: rows that the worker's claims may take (the last run may take more, so that no wide one waits for ever); `aside`
-- ({caller: true}): callers of whom it takes nothing now.
-- Returns {id, request, terms, attempt, published characters, caller, mixed (1 = text was published under another fingerprint),
-- unstored (1 = nothing of it is to be kept), model, class, how long it stood in line (ms), request_id and trace of the call
-- that asked first, rows}, `full` where work waits but this worker holds as much as it may, `again` where much was ended first,
-- or nil where nothing can be taken. A repeat with the same token (a lost reply) answers the same claim.
transition('claim', { 'allow-oom' }, function()
  local claims, count = FairQueue.claims_of(a.worker)
  local before = claims[a.token]
  if before then
    local work, terms = stored((FairQueue.parts_of(before)), 'terms')
    return work and work.t.token == a.token and claimed(work, terms) or nil
  end
  local lane = Lanes.of(a.lane)
  if a.lane == 'batch' and lane.later > 0 then
    -- A batch's next turn is soon: it does not wait for a round of maintenance.
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
    local ok, claim, cost = pcall(begin, lane, id, turn, claims, count)
    if not ok then
      note_bad(id, claim)
      claim, cost = nil, 1
    end
    if claim then
      return claim
    end
    spent = spent + cost
  end
  return 'again'
end)

-- Longer than a claim's reply takes to reach the worker.
local UNHEARD_MS = 3000

-- Renews every lease that one worker holds ({id, token}, …), and puts claims back in line whose reply never reached the
-- worker: those count as no worker's death. Returns the tokens that are no longer good.
transition('renew', { 'allow-oom' }, function()
  local claims, lost, named = FairQueue.claims_of(a.worker), {}, {}
  for _, claim in ipairs(a.claims) do
    local token = claim[2]
    named[token] = true
    local _, lane = FairQueue.parts_of(claims[token] or '')
    if not lane or call('ZADD', P .. 'lease:' .. lane, 'XX', 'CH', now + S.lease_ms, claim[1]) == 0
      and not call('ZSCORE', P .. 'lease:' .. lane, claim[1]) then
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

-- Publishes what is left of a run's text; false where some of it does not follow on what is there. Pieces: {choice, start, size,
-- data}.
local function publish_rest(run, pieces)
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
-- `rest`: pieces of text that are not published yet (see publish_rest); `bare`: the result without its logprobs, where
-- it has some; `origin`: what made it, for its receipt; text: result or error, as JSON. Returns settled | lost (as
-- `append`) | again (many of its jobs were late, and there may be more: ask once more). A repeat by the same claim
-- answers settled.
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
  local datas = publish_rest(run, a.rest or {})
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
  -- An answer begun under one fingerprint and ended under another is nobody's cached answer; one without `print` is none either.
  local entry = not run.mixed and Runs.cache_key(run, a.print)
  if entry then
    call('SET', entry, run.id, 'EX', Runs.answer_s(run))
  end
  Estimates.learn_service(run.lane, a.took_ms)
  -- This attempt has read the pictures: a worker that missed them may have looked into an empty folder.
  for digest in words(run.missed and run.blobs) do
    Files.clear_missing(digest)
  end
  Runs.end_run(run, 'succeeded', nil, true, texts)
  return 'settled'
end)

-- Puts claimed work back in line, or ends it where its budget of failures is spent, or its model removed. `spend`:
-- count a failure, with `failure` (JSON) as the error of the last and `cause` {code, message} as that of this attempt;
-- `missing`: digests that the blob store lacks (words); `died`: the worker ends because of this attempt, or one beside
-- it; `pause`: tried again after so many ms, where its limits of time allow, with `request` in place of its own;
-- `most`: failures it may have. Returns {queued, lane} | {postponed} | {failed} | {lost}.
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
  elseif a.pause then
    if a.request then
      call('SET', P .. work.id .. ':asked', a.request)
    end
    return { FairQueue.requeue(work, a.reason, a.pause) and 'postponed' or 'failed' }
  elseif (a.spend or a.reason == 'store_unavailable') and S.backoff_ms > 0 then
    -- Where pictures cannot be read, the run waits, and not the thread and the line behind it.
    local pause = S.backoff_ms * 2 ^ ((a.spend and work.failures or math.min(work.attempt, 5)) - 1)
    return { FairQueue.requeue(work, a.reason, math.min(pause, FairQueue.LONGEST_PAUSE_MS)) and 'postponed' or 'failed' }
  end
  return FairQueue.requeue(work, a.reason) and { 'queued', work.lane } or { 'failed' }
end)
