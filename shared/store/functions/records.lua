-- Plain records: files, batches and API keys.
--   <id>            hash  its fields, by the names of its class in Python; times in Unix ms
--   <kind>:<owner>  zset  an owner's records, by creation; kind: files, batches, or keys, whose owner is ''
-- A record is its owner's only if it is in the owner's list: an id may be anything that a stranger typed.

-- Some fields of an owner's record by their names; nil if the owner has none of this id.
function Records.owned(kind, owner, id, ...)
  local record = call('ZSCORE', P .. kind .. ':' .. owner, id) and fields_at(P .. id, { 'id', ... })
  return record and record.id and record or nil
end

-- Begins a record with `fields`, a flat list. It may live for `seconds`, or for ever. Each call looks at some of the
-- owner's other records, so that no list grows by what is gone.
function Records.create(kind, owner, id, fields, seconds)
  local key = P .. kind .. ':' .. owner
  call('HSET', P .. id, 'id', id, 'created_ms', now, unpack(fields))
  call('ZADD', key, now, id)
  if seconds then
    Files.extend_life(key, seconds)
  end
  Jobs.cut(key, call('ZRANGE', key, 0, 1))
  Jobs.cut(key, call('ZRANDMEMBER', key, -2))
end

-- A record's fields, a flat list, and the time; empty where it is gone.
function Records.fields(id)
  local fields = redis.pcall('HGETALL', P .. id)
  if fields.err then
    note_bad(id, fields.err)
    return {}
  end
  add(fields, 'now_ms', fields[1] and now)
  return fields
end

-- The replies to commands on the keys of the call's record, if it has one. A command is {name, end of the key, further
-- arguments}; the argument true means the current time.
function Records.replies(commands)
  local replies = {}
  for at, command in ipairs(commands) do
    for place, value in ipairs(command) do
      command[place] = value == true and now or value
    end
    replies[at] = call(command[1], P .. (a.id or '') .. command[2], unpack(command, 3))
  end
  return replies
end

-- The replies to `commands`, or the fields, of an owner's record (nil if the owner has none of this id), or of a batch
-- that is leased under the `token` (nil if it no longer is); without a `kind` on any keys.
transition('record_read', { 'no-writes' }, function()
  local may = not a.kind or a.owner and Records.owned(a.kind, a.owner, a.id) or a.token and Batches.claimed()
  return may and (a.commands and Records.replies(a.commands) or { Records.fields(a.id) }) or nil
end)

-- Reads a page of an owner's records, newest first unless `oldest_first`, from the beginning or behind the id `after`.
-- Returns {fields, …}, nil if `after` is not in the list.
transition('records', { 'no-writes' }, function()
  local key, order = P .. a.kind .. ':' .. a.owner, a.oldest_first and '' or 'REV'
  local from, page = 0, {}
  if a.after then
    local place = call('Z' .. order .. 'RANK', key, a.after)
    if not place then
      return nil
    end
    from = place + 1
  end
  repeat
    local ids = call('Z' .. order .. 'RANGE', key, from, from + a.limit - #page - 1)
    from = from + #ids
    for _, id in ipairs(ids) do
      local fields = Records.fields(id)
      page[#page + 1] = fields[1] and fields or nil
    end
  until #ids == 0 or #page == a.limit
  return page
end)
