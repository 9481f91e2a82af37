-- A member begins to type, goes on, or ceases.
--
-- KEYS: the eighth is who types in the room, the ninth S1's entry of this user.
-- ARGV from the ninth: user, through which connection, whether it types, for how long that counts, S1's entry.
-- Answer: 'member' or 'not_a_member'.

local BACKSTOP_MS = '10000'
local user, source = ARGV[9], ARGV[10]
local member = is_member(user)
if ARGV[11] == '1' and member then
    redis.call('HSET', KEYS[8], user, integer(tonumber(now) + tonumber(ARGV[12])) .. SEPARATOR .. source)
    redis.call('PEXPIRE', KEYS[8], math.max(tonumber(BACKSTOP_MS), tonumber(ARGV[12])))
    redis.call('SET', KEYS[9], ARGV[13], 'PX', BACKSTOP_MS)
    tell('T', origin, user, '1', ARGV[12], source)
elseif ARGV[11] ~= '1' then
    local kept = redis.call('HGET', KEYS[8], user)
    -- A user types through one connection, the one that said so last; that one alone ends it early.
    if kept and string.match(kept, '\31(.*)$') == source then
        redis.call('HDEL', KEYS[8], user)
        redis.call('DEL', KEYS[9])
        tell('T', origin, user, '0', '0', source)
    end
end
return { member and 'member' or 'not_a_member' }
