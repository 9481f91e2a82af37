-- Notes that a user is about to be in a room, within the bound on rooms per user.
--
-- KEYS: the user's rooms. ARGV: room, rooms_max (0 = no bound).
-- Answer: 'reserved' or 'limit'.

if redis.call('SISMEMBER', KEYS[1], ARGV[1]) == 1 then
    return { 'reserved' }
end
local rooms_max = tonumber(ARGV[2])
if rooms_max ~= 0 and redis.call('SCARD', KEYS[1]) >= rooms_max then
    return { 'limit' }
end
redis.call('SADD', KEYS[1], ARGV[1])
return { 'reserved' }
