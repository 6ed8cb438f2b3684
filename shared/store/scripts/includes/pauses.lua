-- Between two attempts at a run: as long as its backoff may be, which the settings bound alike.
local LONGEST_PAUSE_MS = 60000
