#!lua flags=allow-oom
-- Extends a lease.
-- KEYS: lease     ARGV: fence, ttl ms
-- {'FENCED'}, or {'OK', who asks for the camera or ''}.
local v = redis.call('HMGET', KEYS[1], 'fence', 'want', 'wantexp')
if v[1] ~= ARGV[1] then return {'FENCED'} end
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('HSET', KEYS[1], 'exp', string.format('%.0f', now + ARGV[2]))
local wanted = ''
if v[2] and v[2] ~= '' and (tonumber(v[3] or '0') or 0) > now then wanted = v[2] end
return {'OK', wanted}
