-- Raises a member's cursors, and tells who is to know.
--
-- ARGV from the ninth: user, device, 'delivered' or 'seen', devices_max, receipt_members_max, and up to where: 'seq' and
-- a place, or 'messages' and their ids.
-- Answer: 'acknowledged', and for each cursor that grew and of which anybody is told: 'delivered' or 'seen', up to where,
-- the last message that it covers newly ('' = none), the number of authors of what it covers newly, and those; or
-- 'not_a_member', 'not_found'.

local user, device, kind = ARGV[9], ARGV[10], ARGV[11]
if not is_member(user) then
    return { 'not_a_member' }
end
local log = open()
local up_to
if ARGV[14] == 'seq' then
    up_to = math.min(tonumber(ARGV[15]), log and log.head or 0)
else
    for index = 15, #ARGV do
        local places = log and redis.call('HGET', messages_key, ARGV[index])
        local place = places and tonumber(string.match(places, '^%d+'))
        if place and (not up_to or place > up_to) then
            up_to = place
        end
    end
end
if not up_to then
    return { 'not_found' }
end
if not log then
    return { 'acknowledged' }
end
local it = cursors_of(log, user)
touch(it, device, up_to, tonumber(ARGV[12]))
local grown = {}
for _, name in ipairs(kind == 'seen' and { 'delivered', 'seen' } or { 'delivered' }) do
    if up_to > it[name] then
        grown[#grown + 1] = { name, it[name] }
        it[name] = up_to
    end
end
local told = redis.call('HLEN', members_key) <= tonumber(ARGV[13])
local answer = { 'acknowledged' }
for _, cursor in ipairs(grown) do
    local name, from = unpack(cursor)
    local last, authors, known = nil, {}, {}
    for _, record in records(math.max(from + 1, log.first), up_to) do
        local author, id = string.match(record or '', '^[Nn]\31[^\31]*\31([^\31]*)\31([^\31]*)')
        if author then
            last = id
            if author ~= user and not known[author] then
                known[author] = true
                authors[#authors + 1] = author
            end
        end
    end
    -- Times are of messages. Of who came and went nobody asks when it was delivered.
    if last then
        local steps = more_of(it)[name]
        if #steps >= STEPS_MAX then
            table.remove(steps, 1)
        end
        steps[#steps + 1] = { it[name], tonumber(now) }
    end
    if told then
        local moved = { name, integer(up_to), last or '', #authors }
        for _, author in ipairs(authors) do
            moved[#moved + 1] = author
        end
        for _, field in ipairs(moved) do
            answer[#answer + 1] = field
        end
        tell('R', origin, user, now, table.concat(moved, SEPARATOR))
    end
end
save_cursors(user, it)
return answer
