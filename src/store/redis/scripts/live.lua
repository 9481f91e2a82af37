-- Says again who is live on a node.
--
-- ARGV from the ninth: node, and users.

local mine = ' ' .. ARGV[9] .. ' '
for index = 10, #ARGV do
    local user = ARGV[index]
    local nodes = redis.call('HGET', live_key, user) or ' '
    if is_member(user) and not string.find(nodes, mine, 1, true) then
        redis.call('HSET', live_key, user, nodes .. ARGV[9] .. ' ')
        redis.call('SADD', users_key, user)
    end
end
return { 'said' }
