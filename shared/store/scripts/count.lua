-- Adds what a process has counted since its last news to the sums of all processes.
--   a       process, number (of its news, rising), news {{series, increment}, …}, most (series that are kept), life_s
--   writes  counts hash, counted:<process> string
--   returns added | known (these news were added before) | full (some series are new, and there is no room)
--   repeat  with the same number answers known
-- @include base

local last = tonumber(redis.call('GET', P .. 'counted:' .. a.process) or 0)
if a.number <= last then
  return 'known'
end
dirty_first()
redis.call('SET', P .. 'counted:' .. a.process, a.number, 'EX', a.life_s)
local word = 'added'
for _, one in ipairs(a.news) do
  if redis.call('HLEN', P .. 'counts') < a.most or redis.call('HEXISTS', P .. 'counts', one[1]) == 1 then
    redis.call('HINCRBYFLOAT', P .. 'counts', one[1], one[2])
  else
    word = 'full'
  end
end
return word
