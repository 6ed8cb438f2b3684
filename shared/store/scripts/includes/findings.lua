-- What the audit found, and how often.

-- Of a long list only the oldest entries are looked at: strays end up there.
local OLDEST = 100

local findings = {}
local function found(what)
  findings[what] = (findings[what] or 0) + 1
end

local function gone(id)
  return redis.call('EXISTS', P .. id) == 0
end
