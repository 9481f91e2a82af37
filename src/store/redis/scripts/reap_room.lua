-- A node is gone: nobody is live on it.
--
-- ARGV from the ninth: node.

local mine = ' ' .. ARGV[9] .. ' '
local live = redis.call('HGETALL', live_key)
for index = 1, #live, 2 do
    local user, nodes = live[index], live[index + 1]
    local at = string.find(nodes, mine, 1, true)
    if at then
        nodes = string.sub(nodes, 1, at) .. string.sub(nodes, at + #mine)
        if nodes == ' ' then
            redis.call('HDEL', live_key, user)
            redis.call('SREM', users_key, user)
        else
            redis.call('HSET', live_key, user, nodes)
        end
    end
end
return { 'reaped' }
