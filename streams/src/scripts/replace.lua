#!lua flags=allow-oom
-- Replaces a field of a hash, unless it was changed since it was read.
-- KEYS: hash
-- ARGV: field, value as it was read, new value
-- 1 where it was replaced, 0 where it stands otherwise or not at all
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1
