-- What stands before every script.
-- The longest TTL that a worker can be given, ms: that of a lease whose holder, of a release before, did not note its own.
local LONGEST = 600000
-- The wall clock, ms.
local function clock()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end
-- How long until a moment, ms; 0 where it has passed. One that was noted `span` ms ahead and lies a second further than
-- that was noted before the clock went back: whoever noted it may be dead since, so it has passed as well.
local function left(moment, span, now)
  local ms = (tonumber(moment or '0') or 0) - now
  if ms > (tonumber(span or '') or LONGEST) + 1000 then return 0 end
  return math.max(ms, 0)
end
