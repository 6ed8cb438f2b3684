-- Tells what happens to a job: to its own webhook, where it has a `hook`, <job>:hook hash (url, host, events, secret;
-- delivered, disabled), and unless the job is `quiet` to its caller's endpoints and log. Its notices are <job>:began and
-- <job>:ended.

-- The job's fields that a notice tells; `started` comes from its run.
local SHOWN = { 'model', 'status', 'created', 'ended', 'cache', 'metadata', 'error', 'paths', 'retry_of', 'run' }

-- A job's answer as it is told: without its logprobs.
function Webhooks.answer_told(record)
  return record.status == 'succeeded' and (get(record.run, 'bare') or get(record.run, 'result')) or nil
end

-- A job as it stands now, and its answer: either record may be gone when the notice is sent.
local function seen(record)
  local facts = { started = record.run and get(record.run, 'started') }
  for _, name in ipairs(SHOWN) do
    facts[name] = record[name]
  end
  local fields = { 'facts', cjson.encode(facts) }
  add(fields, 'request_id', record.request_id)
  add(fields, 'trace', record.trace)
  add(fields, 'life_s', Notices.life_told(record.retain_s))
  add(fields, 'result', Webhooks.answer_told(record))
  return fields
end

function Webhooks.hook_of(job)
  return get(job, 'hook') and fields_at(P .. job .. ':hook', { 'host', 'events', 'disabled' }) or {}
end

-- Tells what happened to a job to all who want to know; returns how many.
function Webhooks.announce(job, kind, status, record, hook)
  local type = 'job.' .. status
  local targets = record.quiet and {} or Notices.targets_of(record.caller, type)
  if hook.host and not hook.disabled and Endpoints.names(hook.events, type) then
    targets.own = hook.host
  end
  local logged = kind == 'ended' and not record.quiet
  if logged or next(targets) then
    Notices.give_notice(job .. ':' .. kind, record.caller, type, seen(record), targets, logged, Notices.life_told(record.retain_s))
  end
  local count = 0
  for _ in pairs(targets) do
    count = count + 1
  end
  return count
end

-- A run may know of a job whose record is gone.
function Webhooks.announce_beginning(job)
  local record = record(job)
  return record and Webhooks.announce(job, 'began', 'running', record, Webhooks.hook_of(job)) or 0
end

function Webhooks.drop_notices(job)
  Notices.drop_notice(job .. ':began')
  Notices.drop_notice(job .. ':ended')
end

-- Calls of webhooks: one for each notice (`notices`) and each target, which is an endpoint's id or `own`, the webhook
-- that the job itself named.
--   <notice>:<target>        hash  caller, host, tries, since (when it was put where it stands); asked = 1 where the
--                                  caller asked for this one, token while a courier has it
--   calls:<caller>:<host>    zset  calls that wait, by the time of their next try
--   calling:<caller>:<host>  zset  calls under way, by the end of their courier's lease
--   busy:<caller>            zset  calls under way to all hosts, likewise
--   hosts:<caller>           zset  hosts, by the time at which something is to be done there, or of their last turn
--   callers                  zset  callers, likewise; early is harmless

function Webhooks.look_now(caller, host)
  call('ZADD', P .. 'hosts:' .. caller, 'LT', now, host)
  call('ZADD', P .. 'callers', 'LT', now, caller)
end

function Webhooks.place_of(delivery)
  return unpack(call('HMGET', P .. delivery, 'caller', 'host'))
end

-- Lets a call wait until then (Unix ms).
function Webhooks.await_turn(delivery, caller, host, at)
  call('HSET', P .. delivery, 'since', now)
  call('ZADD', P .. 'calls:' .. caller .. ':' .. host, at, delivery)
end

-- Puts a call in line. A call that waits already is due at once, with no tries; one that a courier has is left alone.
function Webhooks.call_out(delivery, caller, host, asked)
  if call('HEXISTS', P .. delivery, 'token') == 1 and call('ZSCORE', P .. 'busy:' .. caller, delivery) then
    return
  end
  local _, before = Webhooks.place_of(delivery)
  if before then
    call('ZREM', P .. 'calls:' .. caller .. ':' .. before, delivery)
  end
  call('HSET', P .. delivery, 'caller', caller, 'host', host, 'tries', 0)
  if asked then
    call('HSET', P .. delivery, 'asked', 1)
  end
  Webhooks.await_turn(delivery, caller, host, now)
  Webhooks.look_now(caller, host)
end

-- Takes a call from its courier.
local function hang_up(delivery, caller, host)
  call('ZREM', P .. 'busy:' .. caller, delivery)
  call('ZREM', P .. 'calling:' .. caller .. ':' .. host, delivery)
  call('HDEL', P .. delivery, 'token')
end

function Webhooks.drop_call(delivery)
  local caller, host = Webhooks.place_of(delivery)
  if caller then
    hang_up(delivery, caller, host)
    call('ZREM', P .. 'calls:' .. caller .. ':' .. host, delivery)
    call('DEL', P .. delivery)
  end
end

-- Callers, hosts, and strays of one host, that are looked at. Callers who are passed over have calls under way, so no
-- more of them stand before the others than all couriers have threads.
local LIMIT = 200

local CLAIM_MS = 60000

-- The notice and the target of a call.
local function parts_of(delivery)
  return string.match(delivery, '^(.+):([^:]+)$')
end

-- The job's own webhook, or the endpoint, as {url, secrets}; nil where it is gone, or disabled and not asked for.
local function receiver_of(delivery)
  local notice, target = parts_of(delivery)
  if target == 'own' then
    local url, secret = unpack(call('HMGET', P .. string.match(notice, '^[^:]+') .. ':hook', 'url', 'secret'))
    return url and { url, secret and { secret } or {} }
  end
  local url, secret, disabled = unpack(call('HMGET', P .. target, 'url', 'secret', 'disabled'))
  if not url or disabled and call('HEXISTS', P .. delivery, 'asked') == 0 then
    return nil
  end
  local secrets = { secret }
  for former in pairs(Endpoints.formers_of(target)) do
    table.insert(secrets, former)
  end
  return { url, secrets }
end

local function given(delivery)
  local url, secrets = unpack(receiver_of(delivery) or {})
  local tries, notice = call('HGET', P .. delivery, 'tries'), parts_of(delivery)
  return url and { delivery, url, secrets, tries, call('HGETALL', P .. notice) } or nil
end

local function set_time(key, member, at)
  if at == math.huge then
    call('ZREM', key, member)
  else
    call('ZADD', key, string.format('%.0f', at), member)
  end
end

-- The time of the first in a line.
local function first_time(key)
  return tonumber(call('ZRANGE', key, 0, 0, 'WITHSCORES')[2] or math.huge)
end

-- Puts calls back in line whose courier did not report within its lease.
local function take_back(caller)
  for _, delivery in ipairs(call('ZRANGEBYSCORE', P .. 'busy:' .. caller, '-inf', now, 'LIMIT', 0, LIMIT)) do
    local _, host = Webhooks.place_of(delivery)
    call('ZREM', P .. 'busy:' .. caller, delivery)
    if host then
      hang_up(delivery, caller, host)
      Webhooks.await_turn(delivery, caller, host, now)
      call('ZADD', P .. 'hosts:' .. caller, 'LT', now, host)
    end
  end
end

-- The first call of a host that is due and still to be made; others are forgotten.
local function first_due(caller, host)
  local line = P .. 'calls:' .. caller .. ':' .. host
  for _, delivery in ipairs(call('ZRANGEBYSCORE', line, '-inf', now, 'LIMIT', 0, LIMIT)) do
    local notice = parts_of(delivery)
    call('ZREM', line, delivery)
    if call('EXISTS', P .. delivery, P .. notice) == 2 and receiver_of(delivery) then
      return delivery
    end
    call('DEL', P .. delivery)
    Notices.keep_notice(notice)
  end
end

local function lease(delivery, caller, host)
  call('HSET', P .. delivery, 'token', a.token, 'since', now)
  call('ZADD', P .. 'calling:' .. caller .. ':' .. host, now + a.lease_ms, delivery)
  call('ZADD', P .. 'busy:' .. caller, now + a.lease_ms, delivery)
  call('SET', P .. 'claim:' .. a.token, delivery, 'PX', CLAIM_MS)
end

-- Notes when a host next needs a look. A host that had its turn stands behind those that wait for theirs.
local function look_later_at(caller, host)
  local calling = P .. 'calling:' .. caller .. ':' .. host
  local at = first_time(calling)
  if call('ZCARD', calling) < a.per_host then
    at = math.min(at, math.max(first_time(P .. 'calls:' .. caller .. ':' .. host), now))
  end
  set_time(P .. 'hosts:' .. caller, host, at)
end

-- The next call of a caller, under its lease.
local function next_of(caller)
  for _, host in ipairs(call('ZRANGEBYSCORE', P .. 'hosts:' .. caller, '-inf', now, 'LIMIT', 0, LIMIT)) do
    local full = call('ZCARD', P .. 'calling:' .. caller .. ':' .. host) >= a.per_host
    local delivery = not full and first_due(caller, host)
    if delivery then
      lease(delivery, caller, host)
    end
    look_later_at(caller, host)
    if delivery then
      return delivery
    end
  end
end

-- Callers who may have a call due now: fewest calls under way first, then the longest without a turn.
local function callers_due()
  local found, under_way, place = {}, {}, {}
  for at, caller in ipairs(call('ZRANGEBYSCORE', P .. 'callers', '-inf', now, 'LIMIT', 0, LIMIT)) do
    under_way[caller] = call('ZCOUNT', P .. 'busy:' .. caller, '(' .. now, '+inf')
    place[caller] = at
    if under_way[caller] == 0 or a.room > a.reserved then
      table.insert(found, caller)
    end
  end
  table.sort(found, function(one, other)
    if under_way[one] ~= under_way[other] then
      return under_way[one] < under_way[other]
    end
    return place[one] < place[other]
  end)
  return found
end

-- For so long a caller is passed over whose calls cannot be read.
local BROKEN_PAUSE_MS = 60000

local function due_of(caller)
  take_back(caller)
  local delivery = next_of(caller)
  -- The end of a lease needs a look as well.
  local at = math.min(first_time(P .. 'hosts:' .. caller), first_time(P .. 'busy:' .. caller))
  set_time(P .. 'callers', caller, math.max(at, now))
  return delivery
end

-- Takes the next call of a webhook that is due, under a lease: callers take turns, and so do the hosts of each.
-- Hosts with enough calls under way are passed over, and the last threads of a courier are reserved for callers without
-- a call under way: when one caller's receivers hang, the others' calls are still made.
--   a      token, lease_ms, per_host (calls at once to one host of a caller), room (threads of this courier that are free,
--          this one included), reserved (threads for callers without a call), event_s, max_events
--   writes calls:<caller>:<host>, calling:<caller>:<host>, busy:<caller>, hosts:<caller> and callers zsets, <call>
--          hash, claim:<token> string; forgets calls of what is gone or disabled
--   returns {id, url, secrets, tries, notice (a flat list)}, nil where nothing is due; all secrets sign; without any
--           the service's own does
--   repeat with the same token (a lost reply) answers the same call
transition('deliver', { 'allow-oom' }, function()
  local again = call('GET', P .. 'claim:' .. a.token)
  if again then
    return call('HGET', P .. again, 'token') == a.token and given(again) or nil
  end
  for _, caller in ipairs(callers_due()) do
    local ok, delivery = pcall(function() return due_of(caller) end)
    if not ok then
      -- The other callers' webhooks are called all the same.
      set_aside('calls:' .. caller, delivery)
      call('ZADD', P .. 'callers', now + BROKEN_PAUSE_MS, caller)
    elseif delivery then
      return given(delivery)
    end
  end
  return nil
end)

-- Rows that a job keeps (two calls of ten tries and some replays), and that an endpoint keeps.
local JOB_ROWS, ENDPOINT_ROWS = 50, 200

local function log_row(owner, rows)
  call('RPUSH', P .. owner .. ':deliveries', a.row)
  call('LTRIM', P .. owner .. ':deliveries', -rows, -1)
end

-- Calls that wait for a disabled endpoint are forgotten when their turn comes.
local function tell_endpoint(id)
  if call('EXISTS', P .. id) == 1 then
    log_row(id, ENDPOINT_ROWS)
    if a.gone then
      Endpoints.disable_endpoint(id, 'gone')
    end
  end
end

-- Records how a try of a webhook's call went: the call is over, or is tried again later.
--   a      id, notice, target, token, url (that was called), row (JSON text {event, at, ms, status, error}; for an
--          endpoint id as well), taken (true = the receiver has it), gone (true = it wants no more), delay_ms (until
--          the next try; absent = there is none), job_s, event_s, max_events
--   writes <call> and <notice> hashes, the lines of calls; <job>:hook hash and <job>:deliveries list, or the
--          endpoint's hash and list
--   returns written | moved (written; its endpoint has another url by now, and is called there at once) | forget
--           (written, and its job is not to be stored: `purge`) | lost (another courier's, or deleted meanwhile; a
--           repeat)
transition('told', { 'allow-oom' }, function()
  local function tell_job(job)
    log_row(job, JOB_ROWS)
    if a.gone then
      call('HSET', P .. job .. ':hook', 'disabled', 1)
      Webhooks.drop_call(job .. ':began:own')
      Webhooks.drop_call(job .. ':ended:own')
      Notices.keep_notice(job .. ':began')
      Notices.keep_notice(job .. ':ended')
    end
    if a.taken and a.notice == job .. ':ended' then
      call('HSETNX', P .. job .. ':hook', 'delivered', now)
    end
  end

  -- The host of the url that the endpoint was given meanwhile: that its former url is gone says nothing about this one.
  local function host_moved_to()
    local url, host = unpack(call('HMGET', P .. a.target, 'url', 'host'))
    return a.gone and url and url ~= a.url and host
  end

  if call('HGET', P .. a.id, 'token') ~= a.token then
    return 'lost'
  end
  local caller, host = Webhooks.place_of(a.id)
  local job = a.target == 'own' and string.match(a.notice, '^[^:]+')
  local moved = host_moved_to()
  hang_up(a.id, caller, host)
  Webhooks.look_now(caller, host)
  if moved then
    a.gone, a.delay_ms, host = nil, 0, moved
    call('HSET', P .. a.id, 'host', host)
    Webhooks.look_now(caller, host)
  end
  if a.delay_ms and not a.gone then
    call('HINCRBY', P .. a.id, 'tries', 1)
    Webhooks.await_turn(a.id, caller, host, now + a.delay_ms)
  else
    call('DEL', P .. a.id)
    Notices.keep_notice(a.notice)
  end
  if job then
    tell_job(job)
  else
    tell_endpoint(a.target)
  end
  if moved then
    return 'moved'
  end
  if not job or not get(job, 'status') then
    return 'written'
  end
  Runs.expire_job(job, record(job), true)
  return get(job, 'unstored') and not Runs.untold(job) and 'forget' or 'written'
end)

-- Keeps the body of a notice before it is first sent, so that every call of the notice sends the same bytes.
--   a      id (of the call), notice, token
--   text   the body
--   writes <notice> hash
--   returns the body to send, nil where the call is another courier's, or was deleted meanwhile
--   repeat answers the same
transition('kept', { 'allow-oom' }, function()
  if call('HGET', P .. a.id, 'token') ~= a.token then
    return nil
  end
  local key = P .. a.notice
  local body = call('HGET', key, 'body')
  if body then
    return body
  end
  call('HDEL', key, 'facts', 'result', 'data')
  call('HSET', key, 'body', text)
  return text
end)

-- Tells a job's own webhook its end again, from the first try, whatever became of it before.
--   a      job, caller, job_s, worker_ttl_s, event_s, max_events
--   writes <job>:ended and <job>:hook hashes, the lines of calls
--   returns {word} for unhooked (it has none) | unended | expired (its answer is no longer kept), {queued, view}, nil
--           where the caller has no such job
--   repeat harmless: a call that waits is due at once, one that a courier has is left alone
transition('replay', {}, function()
  if not owned(a.job, a.caller) then
    return nil
  end
  if Runs.is_ending(a.job) then
    Runs.catch_up(a.job)
  end
  local status, run, ended = fields(a.job, 'status', 'run', 'ended')
  local notice, host = a.job .. ':ended', call('HGET', P .. a.job .. ':hook', 'host')
  if not host then
    return { 'unhooked' }
  end
  if not status then
    return { 'unended' }
  end
  if call('EXISTS', P .. notice) == 0 then
    if status == 'succeeded' and not get(run, 'result') then
      return { 'expired' }
    end
    call('HSET', P .. notice, 'type', 'job.' .. status, 'caller', a.caller, 'at', ended, unpack(seen(record(a.job))))
  end
  Notices.tell_to(notice, 'own', a.caller, host)
  Notices.keep_notice(notice)
  call('HDEL', P .. a.job .. ':hook', 'disabled')
  if get(a.job, 'unstored') then
    local left = call('PTTL', P .. a.job)
    call('PEXPIRE', P .. notice, left)
    call('PEXPIRE', P .. notice .. ':own', left)
  else
    expire(a.job, false)
    call('PERSIST', P .. a.job .. ':hook')
    call('PERSIST', P .. a.job .. ':deliveries')
  end
  return { 'queued', Jobs.view(a.job) }
end)
