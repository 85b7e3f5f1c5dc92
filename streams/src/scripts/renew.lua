#!lua flags=allow-oom
-- Extends a lease.
-- KEYS: lease     ARGV: fence, ttl ms
-- {'FENCED'}, or {'OK', who asks for the camera or ''}.
local v = redis.call('HMGET', KEYS[1], 'fence', 'want', 'wantexp', 'asked', 'askedexp')
if v[1] ~= ARGV[1] then return {'FENCED'} end
local want, till = v[2], v[3]
if want == RESERVED then want, till = v[4], v[5] end
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('HSET', KEYS[1], 'exp', string.format('%.0f', now + ARGV[2]))
local wanted = ''
if want and want ~= '' and (tonumber(till or '0') or 0) > now then wanted = want end
return {'OK', wanted}
