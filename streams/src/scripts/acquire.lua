#!lua flags=allow-oom
-- Takes the lease of a camera.
-- KEYS: lease, checkpoint     ARGV: worker, ttl ms, least epoch, ms to reserve the camera for (0 for not at all; see reserve.lua)
-- {0, holder, ms until it may be asked again} while somebody else holds it or it is kept for somebody else;
-- {1, fence, epoch, checkpoint id, n, inc, state, lost, ms since the lease of a holder that did not release it ran out,
-- or -1 where that is not known} otherwise.
-- The lease is no key that expires: its expiry is a field compared with the server's clock, so the epoch never starts
-- again, and renewing is no SET. The epoch also rises above the checkpoint's `inc`: a lease that was lost with its epoch
-- must not make its new frames look old.
-- `ttl` is how long the lease of the fence `ttlof` lasts. A worker of the release before takes a lease and leaves both as
-- they are, so that another's TTL is not taken for its own.
local now = clock()
local v = redis.call('HMGET', KEYS[1], 'owner', 'exp', 'epoch', 'want', 'wantexp', 'asked', 'askedexp',
  'ttl', 'ttlof', 'fence', 'wantttl', 'askedttl')
local held_by_other = v[1] and v[1] ~= '' and v[1] ~= ARGV[1]
local held_for = left(v[2], v[9] == v[10] and v[8], now)
if held_by_other and held_for > 0 then return {0, v[1], held_for} end
local kept_for, kept_until, kept = v[4], v[5], v[11]
if kept_for == RESERVED then kept_for, kept_until, kept = v[6], v[7], v[12] end
kept = left(kept_until, kept, now)
if kept_for and kept_for ~= '' and kept_for ~= ARGV[1] and kept > 0 then return {0, kept_for, kept} end
local c = redis.call('HMGET', KEYS[2], 'id', 'n', 'inc', 'state', 'lost')
local epoch = math.max(tonumber(v[3] or '0') or 0, tonumber(c[3] or '0') or 0, tonumber(ARGV[3]) or 0) + 1
local expired = -1
if held_by_other then expired = math.max(now - (tonumber(v[2] or '0') or 0), -1) end
local fence = string.format('%.0f:%s', epoch, ARGV[1])
redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'epoch', string.format('%.0f', epoch), 'fence', fence,
  'exp', string.format('%.0f', now + ARGV[2]), 'ttl', ARGV[2], 'ttlof', fence, 'reader', fence, 'asked', '', 'askedexp', 0)
if ARGV[4] ~= '0' then
  redis.call('HSET', KEYS[1], 'want', RESERVED, 'wantexp', string.format('%.0f', now + ARGV[4]))
elseif v[4] ~= RESERVED then
  redis.call('HSET', KEYS[1], 'want', '', 'wantexp', 0)
end
return {1, fence, epoch, c[1] or '0-0', c[2] or '0', c[3] or '0', c[4] or '', c[5] or '', expired}
