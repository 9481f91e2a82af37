-- A membership began or ended, or a reservation is taken back.
--
-- KEYS: the user's rooms. ARGV: room, whether it began, the bus, what every node is told ('' = nothing).
-- Answer: 'indexed'.

redis.call(ARGV[2] == '1' and 'SADD' or 'SREM', KEYS[1], ARGV[1])
if ARGV[4] ~= '' then
    redis.call('PUBLISH', ARGV[3], ARGV[4])
end
return { 'indexed' }
