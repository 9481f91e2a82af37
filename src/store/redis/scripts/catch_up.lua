-- What a node did not hear of a room that it follows. If the log is the node's, but ends before what the node heard, its
-- end was lost: then it gets another name, so that no place names two events.
--
-- ARGV from the ninth: epoch, seq up to which the node heard, events_max of a page.
-- Answer: 'caught_up', epoch ('' = no log), head, whether what follows can be told, place of the first, and the events.

local log = open()
if not log then
    return { 'caught_up', '', 0, 1, 0 }
end
local after = tonumber(ARGV[10])
if log.epoch == ARGV[9] and log.head < after then
    log.epoch = new_epoch
    redis.call('HSET', meta_key, 'epoch', new_epoch)
end
local missed = nil
if log.epoch == ARGV[9] then
    missed = queue(log, after, tonumber(ARGV[11]), 0, 0)
end
local answer = { 'caught_up', log.epoch, integer(log.head), missed and 1 or 0, integer(after + 1) }
for _, record in ipairs(missed or {}) do
    answer[#answer + 1] = record
end
return answer
