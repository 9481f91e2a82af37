-- What became of a message.
--
-- ARGV from the ninth: user, whether it is for a server of the application, message id.
-- Answer: 'status', whether it was delivered to everyone, whether everyone has seen it, and of each to whom it was said:
-- the user, when it was delivered and when it was seen ('' = not, or not known); or 'not_a_member', 'not_found'.

if not may_ask(ARGV[9], ARGV[10] == '1') then
    return { 'not_a_member' }
end
local log = open()
local places = log and redis.call('HGET', messages_key, ARGV[11])
local latest = places and redis.call('HGET', log_key, string.match(places, '%d+$'))
local kind, author = string.match(latest or '', '^([NE])\31[^\31]*\31([^\31]*)')
if not kind then
    return { 'not_found' }
end
local seq = tonumber(string.match(places, '^%d+'))

-- When a cursor came to cover it, or at the latest by when.
local function covered_at(steps)
    for _, step in ipairs(steps or {}) do
        if step[1] >= seq then
            return integer(step[2])
        end
    end
    return ''
end

local answer = { 'status', 0, 0 }
local anyone, delivered, seen = false, true, true
for _, name in ipairs(redis.call('HKEYS', cursors_key)) do
    local it = cursors_of(log, name)
    if name ~= author and it.start < seq then
        anyone = true
        delivered = delivered and it.delivered >= seq
        seen = seen and it.seen >= seq
        answer[#answer + 1] = name
        answer[#answer + 1] = covered_at(it.more and it.more.delivered)
        answer[#answer + 1] = covered_at(it.more and it.more.seen)
    end
end
-- What was said to nobody was delivered to nobody.
answer[2] = anyone and delivered and 1 or 0
answer[3] = anyone and seen and 1 or 0
return answer
