-- What a node says of a user: how many connections are there, and how available the user is by them.
--
-- KEYS: the user's nodes, rooms, sockets, presence, last seen. ARGV: node, connections (0 with 'offline' = none of it is
-- left), status, text, when the user was last there, a socket that is gone ('' = none), now, the bus ('' = it is
-- elsewhere), user.
-- Answer: 'present', and what all nodes say together: status, text, when the user was last there; and what all nodes are to
-- be told by whoever asked, because in a cluster the bus is elsewhere ('' = nothing).

local RANKS = { offline = 0, away = 1, dnd = 2, busy = 3, online = 4 }
local HOUR_MS, FIVE_MINUTES_MS, NINETY_DAYS_MS = 3600000, 300000, 7776000000
local SEPARATOR = '\31'

-- The most available of what all nodes say; of several that are, one that has a word to it.
local function merged()
    local status, text = 'offline', ''
    local nodes = redis.call('HVALS', KEYS[1])
    table.sort(nodes)
    for _, node in ipairs(nodes) do
        local _, said, word = string.match(node, '^(%d+)\31([^\31]*)\31(.*)$')
        if RANKS[said] > RANKS[status] or (said == status and text == '') then
            status, text = said, word
        end
    end
    return status, text
end

local before_status, before_text = merged()
if ARGV[2] == '0' and ARGV[3] == 'offline' then
    redis.call('HDEL', KEYS[1], ARGV[1])
else
    redis.call('HSET', KEYS[1], ARGV[1], table.concat({ ARGV[2], ARGV[3], ARGV[4] }, SEPARATOR))
end
if ARGV[6] ~= '' then
    redis.call('SREM', KEYS[3], ARGV[6])
end
local status, text = merged()
local is_offline = status == 'offline'
if is_offline and (before_status ~= 'offline' or redis.call('EXISTS', KEYS[5]) == 0) then
    redis.call('SET', KEYS[5], ARGV[5], 'PX', NINETY_DAYS_MS)
end
redis.call('PEXPIRE', KEYS[3], HOUR_MS)
local sockets = redis.call('SMEMBERS', KEYS[3])
local seen = is_offline and ARGV[5] or ARGV[7]
local json = string.format(
    '{"userId":%s,"status":"%s","lastSeenAt":%s,"socketIds":%s%s}',
    cjson.encode(ARGV[9]), status, seen, #sockets == 0 and '[]' or cjson.encode(sockets),
    text == '' and '' or ',"text":' .. cjson.encode(text)
)
redis.call('SET', KEYS[4], json, 'PX', is_offline and FIVE_MINUTES_MS or HOUR_MS)
local told = ''
if status ~= before_status or text ~= before_text then
    local fields = { 'P', ARGV[1], ARGV[9], status, text, seen }
    for _, room in ipairs(redis.call('SMEMBERS', KEYS[2])) do
        fields[#fields + 1] = room
    end
    told = table.concat(fields, SEPARATOR)
    if ARGV[8] ~= '' then
        redis.call('PUBLISH', ARGV[8], told)
        told = ''
    end
end
return { 'present', status, text, seen, told }
