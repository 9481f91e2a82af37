-- Renews a node's lease, and takes overdue ones from those who held them, for whoever reaps what they left.
--
-- KEYS: nodes by the end of their lease, nodes that are gone. ARGV: node, for how long in milliseconds, at most how many
-- dead nodes are listed.
-- Answer: 'leased', whether the node held its lease before, and nodes that are gone.

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local held = redis.call('ZSCORE', KEYS[1], ARGV[1])
redis.call('ZADD', KEYS[1], string.format('%.0f', now + tonumber(ARGV[2])), ARGV[1])
-- It is not dead after all.
redis.call('SREM', KEYS[2], ARGV[1])
for _, node in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now - 1))) do
    redis.call('ZREM', KEYS[1], node)
    redis.call('SADD', KEYS[2], node)
end
local answer = { 'leased', held and 1 or 0 }
for _, node in ipairs(redis.call('SRANDMEMBER', KEYS[2], ARGV[3])) do
    answer[#answer + 1] = node
end
return answer
