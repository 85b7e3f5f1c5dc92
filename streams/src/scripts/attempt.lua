#!lua flags=allow-oom
-- Notes that the holder begins its first frame after taking the lease.
-- KEYS: lease     ARGV: fence, frame id
-- {'FENCED'}, or {'OK', how many attempts at this very frame, this one counted}. Only attempts at the same frame
-- add up: counting acquisitions would condemn an innocent frame after three idle restarts.
local v = redis.call('HMGET', KEYS[1], 'fence', 'acq_id', 'tries')
if v[1] ~= ARGV[1] then return {'FENCED'} end
local tries = 1
if v[2] == ARGV[2] then tries = (tonumber(v[3] or '0') or 0) + 1 end
redis.call('HSET', KEYS[1], 'acq_id', ARGV[2], 'tries', tries)
return {'OK', tries}
