-- Keeps a guess of how long a model's first load may take, until a worker knows better.
--   a      lane, load_ms
--   writes lane:<lane> hash (load_guess_ms, load_basis)
--   returns OK
--   repeat harmless; what a worker or an earlier guess said stays
-- @include base
-- @include lane

if redis.call('HEXISTS', P .. 'lane:' .. a.lane, 'load_guess_ms') == 0 then
  note(a.lane, 'load_guess_ms', a.load_ms, 'load_basis', 'guess')
end
return 'OK'
