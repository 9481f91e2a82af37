-- Nobody of a user's connections on a node is live in the room any more.
--
-- ARGV from the ninth: user, node.

local nodes = redis.call('HGET', live_key, ARGV[9])
if nodes then
    local mine = ' ' .. ARGV[10] .. ' '
    local at = string.find(nodes, mine, 1, true)
    if at then
        nodes = string.sub(nodes, 1, at) .. string.sub(nodes, at + #mine)
    end
    if nodes == ' ' then
        redis.call('HDEL', live_key, ARGV[9])
        redis.call('SREM', users_key, ARGV[9])
    elseif at then
        redis.call('HSET', live_key, ARGV[9], nodes)
    end
end
return { 'detached' }
