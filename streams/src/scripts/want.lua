#!lua flags=allow-oom
-- Politely asks a camera's holder to hand it over. The request expires: a worker that asked and died must not make
-- others hand over for ever. Of a reserved camera it stands in fields of its own: see reserve.lua.
-- KEYS: lease     ARGV: holder, who asks, ms the request stands
-- 1, or 0 when the holder changed or somebody asked before.
local v = redis.call('HMGET', KEYS[1], 'owner', 'want', 'wantexp', 'asked', 'askedexp')
local want, till, field = v[2], v[3], 'want'
if want == RESERVED then want, till, field = v[4], v[5], 'asked' end
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
if v[1] ~= ARGV[1] then return 0 end
if want and want ~= '' and want ~= ARGV[2] and (tonumber(till or '0') or 0) > now then return 0 end
redis.call('HSET', KEYS[1], field, ARGV[2], field .. 'exp', string.format('%.0f', now + ARGV[3]))
return 1
