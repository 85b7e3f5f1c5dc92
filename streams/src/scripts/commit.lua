#!lua flags=allow-oom
-- Writes a frame's result, the analysis' state after it, and the progress, all or nothing.
-- KEYS: lease, frames, results, checkpoint
-- ARGV: fence, id, expected checkpoint id, n, inc, state, lost, result, epoch, ttl ms, results kept, trim up to
--       (the id after this one; empty where frames live on another server), field of the checkpoint that counts
--       results of this kind (empty for an analysed frame)
-- {'FENCED', fence}  somebody else holds the camera: nothing was written
-- {'DONE', wanted}   this frame was committed before: the retry after a lost reply
-- {'STALE', id}      the checkpoint is elsewhere than expected: nothing was written
-- {'FAULT', error}   the result could not be written: nothing was written
-- {'DUP', wanted}    a result of this or a later frame exists although the checkpoint is older: the checkpoint was
--                    lost. It is advanced, the result is not written twice, and the event is counted.
-- {'OK', wanted}
local v = redis.call('HMGET', KEYS[1], 'fence', 'want', 'wantexp', 'asked', 'askedexp', 'wantttl', 'askedttl')
if v[1] ~= ARGV[1] then return {'FENCED', v[1] or ''} end
local now = clock()
local want, till, span = v[2], v[3], v[6]
if want == RESERVED then want, till, span = v[4], v[5], v[7] end
local wanted = ''
if want and want ~= '' and left(till, span, now) > 0 then wanted = want end
local current = redis.call('HGET', KEYS[4], 'id') or '0-0'
if current == ARGV[2] then return {'DONE', wanted} end
if current ~= ARGV[3] then return {'STALE', current} end
-- The first write: a script that fails later keeps what it wrote before.
local added = redis.pcall('XADD', KEYS[3], 'MAXLEN', '~', ARGV[11], ARGV[2], 'r', ARGV[8], 'f', ARGV[9])
local outcome = 'OK'
if type(added) == 'table' and added.err then
  if not string.find(added.err, 'equal or smaller', 1, true) then return {'FAULT', added.err} end
  outcome = 'DUP'
  redis.call('HINCRBY', KEYS[4], 'duplicates', 1)
end
redis.call('HSET', KEYS[4], 'id', ARGV[2], 'n', ARGV[4], 'inc', ARGV[5], 'state', ARGV[6], 'lost', ARGV[7])
if ARGV[13] ~= '' and outcome == 'OK' then redis.call('HINCRBY', KEYS[4], ARGV[13], 1) end
if ARGV[12] ~= '' then redis.call('XTRIM', KEYS[2], 'MINID', '=', ARGV[12]) end
redis.call('HSET', KEYS[1], 'exp', string.format('%.0f', now + ARGV[10]))
return {outcome, wanted}
