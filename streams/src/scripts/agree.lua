#!lua flags=allow-oom
-- Says who announces itself and does not read the newest schema, and raises the version that is written where nobody does.
-- KEYS: schema, workers, producers, daemons, cameras
-- ARGV: the newest schema, ms after which a sign of life is too old, when to raise the version: '' for never, 'new'
--       where there is no camera yet, or the SHA-1 of all cameras' names in order, which are reserved by now
-- {version or 0, entry, entry …}
local now = clock()
local found = {tonumber(redis.call('GET', KEYS[1]) or '0') or 0}
for at = 2, 4 do
  local entries = redis.call('ZRANGEBYSCORE', KEYS[at], string.format('%.0f', now - ARGV[2]),
    string.format('%.0f', now + 1000))
  for _, entry in ipairs(entries) do
    local reads = tonumber(string.match(entry, ' (%d+)$') or '0')
    if reads < tonumber(ARGV[1]) then found[#found + 1] = ({'', 'processor ', 'producer ', ''})[at] .. entry end
  end
end
if found[1] >= tonumber(ARGV[1]) or #found > 1 or ARGV[3] == '' then return found end
local cameras = redis.call('HKEYS', KEYS[5])
table.sort(cameras)
local raise = redis.sha1hex(table.concat(cameras, ' ')) == ARGV[3]
if ARGV[3] == 'new' then raise = #cameras == 0 end
if raise then
  redis.call('SET', KEYS[1], ARGV[1])
  found[1] = tonumber(ARGV[1])
end
return found
