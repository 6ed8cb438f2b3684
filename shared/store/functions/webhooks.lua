-- Calls of webhooks: one for each notice (notices.lua) and each target, which is an endpoint's id or `own`, the webhook that the
-- job itself named. A call is work of the lane `hook`, claimed, leased, given back and taken back as all work is (fair_queue.lua,
-- claims.lua).
--   hook:<notice>:<target>  hash  r, s, t: caller, host, what work has; failures counts its tries, `asked` = it is made even where
--                                 the endpoint is disabled
-- The notice names the `targets` whose calls are still to be made.

-- Rows that a job keeps (two calls of ten tries and some replays), and that an endpoint keeps.
local JOB_ROWS, ENDPOINT_ROWS = 50, 200

local function call_id(notice, target)
  return 'hook:' .. notice .. ':' .. target
end

-- The notice and the target of a call, and the id of the webhook that it is for.
local function parts_of(id)
  local notice, target = string.match(id, '^hook:(.+):([^:]+)$')
  return notice, target, target == 'own' and string.match(notice, '^[^:]+') .. ':hook' or target
end

local function targets_of(notice)
  local names = redis.pcall('HGET', P .. notice, 'targets')
  return words(type(names) == 'string' and names or nil)
end

-- A caller is charged for a notice and its calls until the last one, and no longer than this.
local CHARGED_S, NOTICE_BYTES, CALL_BYTES = 604800, 400, 600

-- How many endpoints a caller has.
function Webhooks.endpoints(caller)
  local name = 'count of endpoints:' .. caller
  memo[name] = memo[name] or call('ZCARD', P .. 'endpoints:' .. caller)
  return memo[name]
end

-- What the notices of a job's beginning and end may take: for its own webhook, if it has one, and its caller's endpoints.
function Webhooks.room(hook, job)
  local targets = (hook and 1 or 0) + (job.quiet and 0 or Webhooks.endpoints(job.caller))
  return targets > 0 and 2 * (NOTICE_BYTES + #(job.metadata or '') + targets * CALL_BYTES) or 0
end

-- Takes a call out of where it stands, and forgets it.
local function forget_call(work)
  FairQueue.leave(work)
  Memory.free(work.id)
  delete(work.id)
end

-- Whether a call need not be put in line: a courier makes it now, or it waits for its first try.
local function stands(work, host, asked)
  return work.state == 'running'
    or work.state == 'queued' and not work.failures and work.host == host and (work.asked or not asked)
end

-- Writes what is kept of a notice, and puts calls of it in line, from the first try: hosts by target. `asked` = the caller asked
-- for them. Returns how many were put there.
function Webhooks.send(notice, caller, record, hosts, asked)
  local targets, count = {}, 0
  for target in words(record.targets) do
    targets[target] = true
  end
  for target, host in pairs(hosts) do
    local id = call_id(notice, target)
    local before = targets[target] and read(id)
    if not (before and stands(before, host, asked)) then
      if before then
        forget_call(before)
      end
      local work = create(id, { caller = caller, host = host, lane = 'hook', priority = 'normal', cost = 1, created = now, asked = asked })
      FairQueue.enqueue_new(Lanes.of('hook'), work)
      write(work, 'm', Memory.charge(id, caller, CALL_BYTES, 0, CHARGED_S))
      targets[target], count = true, count + 1
    end
  end
  if count > 0 then
    local names = {}
    for target in pairs(targets) do
      table.insert(names, target)
    end
    record.targets = table.concat(names, ' ')
    Memory.free(notice)
    record.m = Memory.charge(notice, caller, NOTICE_BYTES + #(record.data or record.metadata or ''), 0, CHARGED_S)
  end
  call('HSET', P .. notice, unpack(flat(record)))
  return count
end

-- Whether calls of a job's own webhook are still to be made.
function Webhooks.has_pending(job)
  return call('EXISTS', P .. call_id(job .. ':ended', 'own'), P .. call_id(job .. ':began', 'own')) > 0
    and call('HEXISTS', P .. job .. ':hook', 'disabled') == 0
end

-- The webhook of a batch goes with its record, but not before its last call.
function Webhooks.expire_hook(batch)
  for _, suffix in ipairs(Webhooks.has_pending(batch) and {} or { ':hook', ':deliveries' }) do
    call('PEXPIRE', P .. batch .. suffix, math.max(call('PTTL', P .. batch), 1))
  end
end

-- When the next try at a job's own webhook is due; nil where none is put off.
function Webhooks.next_try(job)
  return call('ZSCORE', P .. 'later', call_id(job .. ':ended', 'own')) or call('ZSCORE', P .. 'later', call_id(job .. ':began', 'own'))
end

-- Forgets what happened to a job, with its calls.
function Webhooks.drop_notices(job)
  for _, notice in ipairs({ job .. ':began', job .. ':ended' }) do
    for target in targets_of(notice) do
      local work = read(call_id(notice, target))
      if work then
        forget_call(work)
      end
    end
    Memory.free(notice)
    call('DEL', P .. notice)
  end
end

-- Keeps a job, or a batch's webhook, as long as calls need it. Returns whether it is to be forgotten: it is not to be stored, and
-- no calls of its own webhook are left.
local function keep_job(id)
  if string.find(id, '^batch_') then
    Webhooks.expire_hook(id)
  end
  local job = read(id)
  if not job or not job.status then
    return false
  end
  Runs.expire_job(job)
  write(job)
  return job.unstored and not Webhooks.has_pending(id)
end

-- A call is over. With the last one the notice goes, unless the log needs it. Returns whether its job is to be forgotten.
local function close(work)
  local notice, target = parts_of(work.id)
  local left = {}
  for other in targets_of(notice) do
    if other ~= target then
      table.insert(left, other)
    end
  end
  forget_call(work)
  if left[1] then
    call('HSET', P .. notice, 'targets', table.concat(left, ' '))
  else
    local till = call('HGET', P .. notice, 'till')
    Memory.free(notice)
    call('HDEL', P .. notice, 'targets', 'm')
    call('PEXPIRE', P .. notice, string.format('%.0f', (till or now) - now))
  end
  return target == 'own' and keep_job(string.match(notice, '^[^:]+'))
end

-- Reads what the courier that has claimed a call needs for it: {url, secrets, failures, notice (a flat list)}; all secrets sign,
-- without any the service's own does. nil where its job or its webhook is gone, or the webhook is disabled and the caller did not
-- ask for the call: then it is to be settled.
transition('delivery', { 'allow-oom' }, function()
  local work, notice, _, id = read(a.id), parts_of(a.id)
  local fields, webhook = Notices.content(notice), Webhooks.fields(id)
  if not work or not fields or not webhook.url or webhook.disabled and not work.asked then
    return nil
  end
  local secrets = { webhook.secret }
  for former in pairs(Records.formers(webhook.formers)) do
    table.insert(secrets, former)
  end
  return { webhook.url, secrets, work.failures or 0, flat(fields) }
end)

-- Writes how a try of a call went, `tried`: row (JSON), url that was called, taken (the receiver has it), gone (it wants no more: its
-- other calls are not made when their turn comes), borne (its host can do as much). Returns the host of an
-- endpoint that has another url by now: that the former one is gone says nothing about it.
function Webhooks.note_try(work, tried)
  local notice, target, webhook = parts_of(work.id)
  local fields, owner = Webhooks.fields(webhook), string.match(webhook, '^[^:]+')
  FairQueue.adapt(work, tried.borne)
  if not fields.url then
    return nil
  end
  local rows, left_ms = P .. owner .. ':deliveries', call('PTTL', P .. owner)
  if call('RPUSH', rows, tried.row) == 1 and left_ms > 0 then
    call('PEXPIRE', rows, left_ms)
  end
  call('LTRIM', rows, target == 'own' and -JOB_ROWS or -ENDPOINT_ROWS, -1)
  if tried.gone and fields.url ~= tried.url then
    return fields.host
  elseif tried.gone and call('HSETNX', P .. webhook, 'disabled', 'gone') == 1 then
    call('HSET', P .. webhook, 'disabled_ms', now)
  elseif tried.taken and target == 'own' and notice == owner .. ':ended' then
    call('HSETNX', P .. webhook, 'delivered', now)
  end
end

-- Ends a call after its last try, or without one. Returns settled | moved (its endpoint has another url
-- by now, where it is made next) | forget (settled, and its job is not to be stored: `purge`).
function Webhooks.settle(work, tried)
  local host = tried and Webhooks.note_try(work, tried)
  if host then
    FairQueue.leave(work, 'moved')
    work.host = host
    FairQueue.requeue(work, 'moved')
    return 'moved'
  end
  return close(work) and 'forget' or 'settled'
end

-- Sends a job's own webhook its end again, from the first try, whatever became of it before: a call that waits is due at once, one
-- that a courier makes is left alone. Returns {word} for unhooked (it has none) | unended | expired (its answer is no longer kept),
-- {queued, view}, nil where the caller has no such job.
transition('replay', {}, function()
  local job = owned(a.job, a.caller)
  if not job then
    return nil
  end
  local run = not job.status and Runs.of(job)
  if run and Runs.outcome(run) then
    Runs.end_with_work(job, run)
  end
  local hook = P .. a.job .. ':hook'
  local host = call('HGET', hook, 'host')
  if not host then
    return { 'unhooked' }
  elseif not job.status then
    return { 'unended' }
  elseif not Notices.send_again(a.job .. ':ended', 'own', a.caller, host) then
    return { 'expired' }
  end
  call('HDEL', hook, 'disabled', 'disabled_ms')
  if not job.unstored then
    unset(job, 'till')
    write(job)
    Runs.hold_for(job)
    for _, key in ipairs({ P .. a.job, hook, P .. a.job .. ':deliveries' }) do
      call('PERSIST', key)
    end
  end
  return { 'queued', Jobs.view(job.id) }
end)
