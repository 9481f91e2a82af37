-- The next page of what a device was not delivered.
--
-- ARGV from the ninth: user, membership, the last event of the page before, events_max and bytes_max of a page.
-- Answer: 'page', epoch ('' = no log), head, whether it can be told, whether there are more, place of the first, and the
-- events; or 'not_a_member'.

local kept = redis.call('HGET', members_key, ARGV[9])
-- Whoever left and came again since then has a queue of its own.
if not kept or string.match(kept, '^%d+') ~= ARGV[10] then
    return { 'not_a_member' }
end
local log = open()
if not log then
    return { 'page', '', 0, 0, 0, 0 }
end
local after = tonumber(ARGV[11])
local missed, more = queue(log, after, tonumber(ARGV[12]), tonumber(ARGV[13]), 1)
local answer = { 'page', log.epoch, integer(log.head), missed and 1 or 0, more and 1 or 0, missed and integer(after + 1) or 0 }
for _, record in ipairs(missed or {}) do
    answer[#answer + 1] = record
end
return answer
