#!lua flags=allow-oom
-- Politely asks a camera's holder to hand it over. The request expires: a worker that asked and died must not make
-- others hand over for ever.
-- KEYS: lease     ARGV: holder, who asks, ms the request stands
-- 1, or 0 when the holder changed or somebody asked before.
local v = redis.call('HMGET', KEYS[1], 'owner', 'want', 'wantexp')
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
if v[1] ~= ARGV[1] then return 0 end
if v[2] and v[2] ~= '' and v[2] ~= ARGV[2] and (tonumber(v[3] or '0') or 0) > now then return 0 end
redis.call('HSET', KEYS[1], 'want', ARGV[2], 'wantexp', string.format('%.0f', now + ARGV[3]))
return 1
