#!lua flags=allow-oom
-- Keeps a camera from workers of the release before, or lets them have it again. Their scripts know nothing of this:
-- they find that the camera is kept for somebody else. Who of this release asks for a reserved camera stands in `asked`.
-- KEYS: lease     ARGV: ms it is reserved for, counted from now; 0 to end what is not meant to last
-- The worker of the release before that held it and has lost it by this, or ''.
-- A worker of this release notes its fence as `reader` when it takes a lease, so that any other fence is one of theirs.
local LASTS = 2e15
local v = redis.call('HMGET', KEYS[1], 'owner', 'fence', 'reader', 'want', 'wantexp', 'wantttl')
local now = clock()
local till = tonumber(v[5] or '0') or 0
if ARGV[1] == '0' then
  if v[4] == RESERVED and till < LASTS then redis.call('HSET', KEYS[1], 'want', '', 'wantexp', 0) end
  return ''
end
if v[4] == RESERVED then
  till = math.max(till, now + ARGV[1])
else
  redis.call('HSET', KEYS[1], 'asked', v[4] or '', 'askedexp', v[5] or 0, 'askedttl', v[6] or '')
  till = now + ARGV[1]
end
redis.call('HSET', KEYS[1], 'want', RESERVED, 'wantexp', string.format('%.0f', till))
if not v[2] or v[2] == '' or v[2] == v[3] then return '' end
-- Free for everybody at once.
redis.call('HSET', KEYS[1], 'owner', '', 'fence', '', 'exp', 0, 'asked', '', 'askedexp', 0)
return v[1] or ''
