-- Gives a message new content.
--
-- ARGV after those of `change`: content, the version that the editor knows ('' = any).
-- Answer: 'edited', version, epoch, seq, record; or 'not_a_member', 'not_found', 'forbidden', or 'conflict' and the version
-- that there is.

local found, refusal = changeable()
if not found then
    return refusal
end
local fields, log = found.fields, found.log
local version = tonumber(fields[9])
if ARGV[14] ~= '' and tonumber(ARGV[14]) ~= version then
    return { 'conflict', integer(version) }
end
fields[1], fields[2], fields[9], fields[11], fields[13] = 'E', now, integer(version + 1), now, ARGV[13]
local record = table.concat(fields, SEPARATOR)
local seq = integer(record_event(log, record))
if redis.call('HEXISTS', log_key, seq) == 1 then
    redis.call('HSET', messages_key, id, found.places .. ' ' .. seq)
end
return { 'edited', integer(version + 1), log.epoch, seq, record }
