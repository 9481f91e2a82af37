-- One more connection of a user, within their bound over all nodes.
--
-- KEYS: the user's nodes, rooms, sockets. ARGV: node, socket, connections_max (0 = no bound).
-- Answer: 'rooms' and they; or 'too_many'.

local SOCKETS_MS = 3600000
local nodes = redis.call('HGETALL', KEYS[1])
local count, mine = 0, '0\31offline\31'
for index = 1, #nodes, 2 do
    count = count + tonumber(string.match(nodes[index + 1], '^%d+'))
    if nodes[index] == ARGV[1] then
        mine = nodes[index + 1]
    end
end
local connections_max = tonumber(ARGV[3])
if connections_max ~= 0 and count >= connections_max then
    return { 'too_many' }
end
local had, rest = string.match(mine, '^(%d+)(.*)$')
redis.call('HSET', KEYS[1], ARGV[1], string.format('%d', tonumber(had) + 1) .. rest)
redis.call('SADD', KEYS[3], ARGV[2])
redis.call('PEXPIRE', KEYS[3], SOCKETS_MS)
local answer = redis.call('SMEMBERS', KEYS[2])
table.sort(answer)
table.insert(answer, 1, 'rooms')
return answer
