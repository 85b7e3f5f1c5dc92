#!lua flags=allow-oom
-- Politely asks a camera's holder to hand it over. The request expires: a worker that asked and died must not make
-- others hand over for ever. Of a reserved camera it stands in fields of its own: see reserve.lua.
-- KEYS: lease     ARGV: holder, who asks, ms the request stands
-- 1, or 0 when the holder changed or somebody asked before.
local v = redis.call('HMGET', KEYS[1], 'owner', 'want', 'wantexp', 'asked', 'askedexp', 'wantttl', 'askedttl')
local want, till, span, field = v[2], v[3], v[6], 'want'
if want == RESERVED then want, till, span, field = v[4], v[5], v[7], 'asked' end
local now = clock()
if v[1] ~= ARGV[1] then return 0 end
if want and want ~= '' and want ~= ARGV[2] and left(till, span, now) > 0 then return 0 end
redis.call('HSET', KEYS[1], field, ARGV[2], field .. 'exp', string.format('%.0f', now + ARGV[3]),
  field .. 'ttl', ARGV[3])
return 1
