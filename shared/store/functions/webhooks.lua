-- Deliveries of webhooks: one for each notice (notices.lua) and each target, which is an endpoint's id or `own`, the webhook
-- that the job itself named. Its id is <notice>:<target>, its entry ` <caller> <host> <id>`. The notice's `deliveries`, a JSON
-- object by target, has of each: path (` <caller> <host>`), tries, asked (made even where the endpoint is disabled). It
-- stands in one of these:
--   deliveries <caller> <host>  zset  the line: ids that are due, first come first
--   deliveries_away             zset  entries that are tried again later, and those that couriers have, each with its courier's
--                                     token: by when they are in line again
-- Whose turn it is; some may have nothing in line any more:
--   deliveries                  zset  paths of callers (` <caller>`), by their turns
--   deliveries <caller>         zset  paths of its hosts, likewise
-- What couriers have:
--   deliveries_taken            hash  entries by token
--   deliveries_busy             hash  how many there are of each caller and of each host of a caller, by path

local AWAY, TAKEN, BUSY = P .. 'deliveries_away', P .. 'deliveries_taken', P .. 'deliveries_busy'

-- Deliveries that one call looks at: as many in lines as away.
local STEPS = 50

-- Rows that a job keeps (two deliveries of ten tries and some replays), and that an endpoint keeps.
local JOB_ROWS, ENDPOINT_ROWS = 50, 200

local function line(path)
  return P .. 'deliveries' .. path
end

-- The id of the webhook that a delivery is for.
local function webhook_of(notice, target)
  return target == 'own' and string.match(notice, '^[^:]+') .. ':hook' or target
end

local function deliveries_of(notice)
  local json = call('HGET', P .. notice, 'deliveries')
  return json and decoded(json) or {}
end

-- A caller is charged for a notice and its deliveries until the last one, and no longer than this.
local CHARGED_S, NOTICE_BYTES, DELIVERY_BYTES = 604800, 400, 300

-- What the notices of a job's beginning and end may take: for its own webhook, if it has one, and its caller's endpoints.
function Webhooks.room(hook, job)
  local targets = (hook and 1 or 0) + (job.quiet and 0 or call('ZCARD', P .. 'endpoints:' .. job.caller))
  return targets > 0 and 2 * (NOTICE_BYTES + #(job.metadata or '') + targets * DELIVERY_BYTES) or 0
end

-- Gives turns to hosts of a caller that have a line, behind others: the time and the path of each.
local function add_turns(caller, ...)
  call('ZADD', line(caller), 'NX', ...)
  call('ZADD', line(''), 'NX', now, caller)
end

-- Counts a delivery that a courier takes (1), or has no more (-1).
local function count_busy(path, step)
  for _, counted in ipairs({ path, string.match(path, '^ %S+') }) do
    if call('HINCRBY', BUSY, counted, step) < 1 then
      call('HDEL', BUSY, counted)
    end
  end
end

-- Takes back a delivery that is away, from its courier if one has it; false where it is not away.
local function take_back(entry)
  local path, token = string.match(entry, '^( %S+ %S+) %S+ (%S+)$')
  local is_away = call('ZREM', AWAY, entry) == 1
  if is_away and token then
    call('HDEL', TAKEN, token)
    count_busy(path, -1)
  end
  return is_away
end

-- Takes out a delivery that waits; false where it does not.
local function withdraw(id, path)
  return call('ZREM', line(path), id) + call('ZREM', AWAY, path .. ' ' .. id) > 0
end

-- Writes what is kept of a notice, and puts deliveries of it in line, from the first try: hosts by target. One that a courier
-- makes now is left alone. `asked` = the caller asked for them. Returns how many there are.
function Webhooks.send(notice, caller, record, hosts, asked)
  local deliveries, turns, count = decoded(record.deliveries or '') or {}, {}, 0
  for target, host in pairs(hosts) do
    local id, path, before = notice .. ':' .. target, ' ' .. caller .. ' ' .. host, deliveries[target]
    if not before or withdraw(id, before.path) then
      deliveries[target] = { path = path, tries = 0, asked = asked }
      call('ZADD', line(path), now, id)
      add(turns, now, path)
      count = count + 1
    end
  end
  if count > 0 then
    add_turns(' ' .. caller, unpack(turns))
    record.deliveries = cjson.encode(deliveries)
    Memory.free(notice)
    local bytes = NOTICE_BYTES + #(record.data or record.metadata or '')
    for _ in pairs(deliveries) do
      bytes = bytes + DELIVERY_BYTES
    end
    record.m = Memory.charge(notice, caller, bytes, 0, CHARGED_S)
  end
  call('HSET', P .. notice, unpack(flat(record)))
  return count
end

-- Whether deliveries to a job's own webhook are still to be made.
function Webhooks.has_pending(job)
  local own = deliveries_of(job .. ':ended').own or deliveries_of(job .. ':began').own
  return own and call('HEXISTS', P .. job .. ':hook', 'disabled') == 0
end

-- The webhook of a batch goes with its record, but not before its last delivery.
function Webhooks.expire_hook(batch)
  for _, suffix in ipairs(Webhooks.has_pending(batch) and {} or { ':hook', ':deliveries' }) do
    call('PEXPIRE', P .. batch .. suffix, math.max(call('PTTL', P .. batch), 1))
  end
end

-- When the next try at a job's own webhook is due; nil where none is put off.
function Webhooks.next_try(job)
  for _, notice in ipairs({ job .. ':ended', job .. ':began' }) do
    local own = deliveries_of(notice).own
    local at = own and call('ZSCORE', AWAY, own.path .. ' ' .. notice .. ':own')
    if at then
      return at
    end
  end
end

-- Forgets what happened to a job, with the deliveries that wait. One under way counts until its courier reports.
function Webhooks.drop_notices(job)
  for _, notice in ipairs({ job .. ':began', job .. ':ended' }) do
    for target, delivery in pairs(deliveries_of(notice)) do
      withdraw(notice .. ':' .. target, delivery.path)
    end
    Memory.free(notice)
    call('DEL', P .. notice)
  end
end

-- Keeps a job, or a batch's webhook, as long as deliveries need it. Returns whether it is to be forgotten: it is not to be
-- stored, and no deliveries to its own webhook are left.
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

-- Writes the deliveries of a notice after that to a target has changed. With the last one the notice goes, unless the log needs
-- it. Returns whether its job is to be forgotten.
local function save(notice, deliveries, target)
  if next(deliveries) then
    call('HSET', P .. notice, 'deliveries', cjson.encode(deliveries))
  else
    local till = call('HGET', P .. notice, 'till')
    Memory.free(notice)
    call('HDEL', P .. notice, 'deliveries', 'm')
    call('PEXPIRE', P .. notice, string.format('%.0f', (till or now) - now))
  end
  return target == 'own' and keep_job(string.match(notice, '^[^:]+'))
end

-- What a courier is given of a delivery that it takes; nil where the delivery is over, its job is gone, or its webhook is
-- gone, or disabled and the caller did not ask for the delivery.
local function lease(entry)
  local notice, target = string.match(entry, '(%S+):(%S+) %S+$')
  local fields, webhook = Notices.content(notice) or {}, Webhooks.fields(webhook_of(notice, target))
  local deliveries = decoded(fields.deliveries or '') or {}
  local delivery = deliveries[target]
  if not delivery or not webhook.url or webhook.disabled and not delivery.asked then
    deliveries[target] = nil
    save(notice, deliveries, target)
    return nil
  end
  if call('ZADD', AWAY, 'NX', now + S.call_ms, entry) == 1 then
    call('HSET', TAKEN, a.token, entry)
    count_busy(string.match(entry, '^ %S+ %S+'), 1)
  end
  local secrets = { webhook.secret }
  for former in pairs(Records.formers(webhook.formers)) do
    table.insert(secrets, former)
  end
  return { entry, webhook.url, secrets, delivery.tries, flat(fields) }
end

-- The path of the caller, or of a caller's host, whose turn it is: with the fewest deliveries under way, of several the longest
-- without a turn; nil where all have `limit`. `under_way` is how many the path has: no more can be passed over.
local function next_turn(path, under_way, limit, passed)
  local paths, best, fewest = call('ZRANGE', line(path), 0, under_way), nil, limit
  for at, busy in ipairs(paths[1] and call('HMGET', BUSY, unpack(paths)) or {}) do
    busy = tonumber(busy or 0)
    if busy < fewest and not passed[paths[at]] then
      best, fewest = paths[at], busy
    end
  end
  return best, fewest
end

-- Puts a host and its caller after the others, or takes them out where they have nothing in line.
local function end_turn(path)
  while path ~= '' do
    local above = string.match(path, '^(.*) ')
    if call('EXISTS', line(path)) == 0 then
      call('ZREM', line(above), path)
    else
      local last = call('ZREVRANGE', line(above), 0, 0, 'WITHSCORES')[2]
      call('ZADD', line(above), math.max(now, last + 1), path)
    end
    path = above
  end
end

-- Takes the next delivery of a caller with so many under way; one without a host for it is passed over from now on.
local function take(caller, busy, passed)
  local host = next_turn(caller, busy, a.per_host, passed)
  if not host then
    passed[caller] = true
    return nil
  end
  local id = call('ZPOPMIN', line(host))[1]
  end_turn(host)
  return id and lease(host .. ' ' .. id .. ' ' .. a.token)
end

-- Takes the next delivery that is due, under a lease: callers take turns, and so do the hosts of each. Hosts with enough
-- deliveries under way are passed over, and the last threads of a courier are reserved for callers without one under way:
-- when one caller's receivers hang, the others' are still called.
--   a      token, per_host (deliveries at once to one host of a caller), room (threads of this courier that are free, this one
--          included), reserved (threads for callers without a delivery)
--   returns {lease, url, secrets, tries, notice (a flat list)}, nil where nothing is due, `again` where there is more to look
--           at; all secrets sign; without any the service's own does
--   repeat with the same token (a lost reply) answers the same delivery
transition('delivery', { 'allow-oom' }, function()
  for _, entry in ipairs(call('ZRANGEBYSCORE', AWAY, '-inf', now, 'LIMIT', 0, STEPS)) do
    local path, caller, id = string.match(entry, '^(( %S+) %S+) (%S+)')
    take_back(entry)
    call('ZADD', line(path), now, id)
    add_turns(caller, now, path)
  end
  local before = call('HGET', TAKEN, a.token)
  if before then
    return lease(before)
  end
  local under_way, passed = call('HLEN', TAKEN), {}
  if under_way == 0 or call('EXISTS', AWAY) == 0 then
    -- Whatever was miscounted, a host is not passed over for ever.
    call('DEL', TAKEN, BUSY)
  end
  for _ = 1, STEPS do
    local caller, busy = next_turn('', under_way, a.room > a.reserved and math.huge or 1, passed)
    if not caller then
      return nil
    end
    local ok, delivery = pcall(take, caller, busy, passed)
    if not ok then
      -- A delivery that cannot be read is out of its line by now; with a line, its caller waits for the next one.
      call('ZREM', line(''), caller)
      spoil('deliveries' .. caller, delivery)
    elseif delivery then
      return delivery
    end
  end
  return 'again'
end)

-- Hosts whose lines are counted at most.
local COUNTED = 500

-- Counts deliveries: in line (of the first COUNTED hosts), tried again later, under way.
transition('delivery_counts', { 'no-writes' }, function()
  local due, hosts = 0, 0
  for _, caller in ipairs(call('ZRANGE', line(''), 0, COUNTED - 1)) do
    for _, host in ipairs(hosts < COUNTED and call('ZRANGE', line(caller), 0, COUNTED - hosts - 1) or {}) do
      due, hosts = due + call('ZCARD', line(host)), hosts + 1
    end
  end
  local under_way = call('HLEN', TAKEN)
  return { due, call('ZCARD', AWAY) - under_way, under_way }
end)

-- Records how a try of a delivery went: it is over, or is tried again later.
--   a      lease, url (that was called), row (JSON text of the try), taken (true = the receiver has it), gone (true = it wants no
--          more: other deliveries to it are forgotten when their turn comes), delay_ms (until the next try; absent = none)
--   writes the notice, <job>:hook hash and <job>:deliveries list, or the endpoint's
--   returns written | moved (written; its endpoint has another url by now, and is called there at once) | forget (written, and
--           its job is not to be stored: `purge`) | lost (its lease has ended, or it was deleted; a repeat)
transition('delivery_result', { 'allow-oom' }, function()
  local path, id, notice, target = string.match(a.lease, '^(.*) ((%S+):(%S+)) %S+$')
  local deliveries = deliveries_of(notice)
  local delivery = deliveries[target]
  if not take_back(a.lease) or not delivery then
    return 'lost'
  end
  local webhook = webhook_of(notice, target)
  local fields = Webhooks.fields(webhook)
  local url, host = fields.url, fields.host
  -- That the former url of an endpoint is gone says nothing about its new one.
  local moved = a.gone and url and url ~= a.url
  if moved then
    a.gone, a.delay_ms, path = nil, 0, string.match(path, '^ %S+ ') .. host
  end
  if a.delay_ms then
    delivery.path, delivery.tries = path, delivery.tries + 1
    call('ZADD', AWAY, now + a.delay_ms, path .. ' ' .. id)
  else
    deliveries[target] = nil
  end
  local owner, own = string.match(webhook, '^[^:]+'), target == 'own'
  if url then
    call('RPUSH', P .. owner .. ':deliveries', a.row)
    call('LTRIM', P .. owner .. ':deliveries', own and -JOB_ROWS or -ENDPOINT_ROWS, -1)
  end
  if url and a.gone and call('HSETNX', P .. webhook, 'disabled', 'gone') == 1 then
    call('HSET', P .. webhook, 'disabled_ms', now)
  elseif url and a.taken and id == owner .. ':ended:own' then
    call('HSETNX', P .. webhook, 'delivered', now)
  end
  local to_forget = save(notice, deliveries, target)
  return moved and 'moved' or to_forget and 'forget' or 'written'
end)

-- Sends a job's own webhook its end again, from the first try, whatever became of it before: a delivery that waits is due at
-- once, one that a courier has is left alone. Returns {word} for unhooked (it has none) | unended | expired (its answer is no
-- longer kept), {queued, view}, nil where the caller has no such job.
transition('replay', {}, function()
  local job = owned(a.job, a.caller)
  if not job then
    return nil
  end
  local run = not job.status and job.run and read(job.run)
  if run and run.ended then
    Runs.end_with_run(job, run)
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
