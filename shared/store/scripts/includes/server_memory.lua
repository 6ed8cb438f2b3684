-- How much memory the server uses, how much it may (0 = no limit), in bytes; 1 where it may evict records, else 0.

local function server_memory()
  local info = redis.call('INFO', 'memory')
  local policy = string.match(info, 'maxmemory_policy:(%S+)') or 'noeviction'
  return { tonumber(string.match(info, 'used_memory:(%d+)')), tonumber(string.match(info, 'maxmemory:(%d+)') or 0),
    policy == 'noeviction' and 0 or 1 }
end
