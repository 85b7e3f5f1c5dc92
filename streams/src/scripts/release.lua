#!lua flags=allow-oom
-- Gives a lease up, and keeps the camera for whoever asked for it for a moment. A holder that leaves in order had no
-- trouble with its frame: attempts start again.
-- KEYS: lease     ARGV: fence, ms kept for the one who asked
-- 1, or 0 when the lease was somebody else's.
local v = redis.call('HMGET', KEYS[1], 'fence', 'want')
if v[1] ~= ARGV[1] then return 0 end
local kept = 'want'
if v[2] == RESERVED then kept = 'asked' end
local now = clock()
redis.call('HSET', KEYS[1], 'owner', '', 'fence', '', 'exp', 0, 'acq_id', '', 'tries', 0,
  kept .. 'exp', string.format('%.0f', now + ARGV[2]), kept .. 'ttl', ARGV[2])
return 1
