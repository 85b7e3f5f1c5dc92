#!lua flags=allow-oom
-- Extends a lease.
-- KEYS: lease     ARGV: fence, ttl ms
-- {'FENCED'}, or {'OK', who asks for the camera or ''}.
local v = redis.call('HMGET', KEYS[1], 'fence', 'want', 'wantexp', 'asked', 'askedexp', 'wantttl', 'askedttl')
if v[1] ~= ARGV[1] then return {'FENCED'} end
local want, till, span = v[2], v[3], v[6]
if want == RESERVED then want, till, span = v[4], v[5], v[7] end
local now = clock()
redis.call('HSET', KEYS[1], 'exp', string.format('%.0f', now + ARGV[2]))
local wanted = ''
if want and want ~= '' and left(till, span, now) > 0 then wanted = want end
return {'OK', wanted}
