-- Deletes a message: its content goes out of every event that carries it.
--
-- ARGV after those of `change`: the record of the event.
-- Answer: 'deleted', epoch, seq; or 'not_a_member', 'not_found', 'forbidden'.

local found, refusal = changeable()
if not found then
    return refusal
end
local log = found.log
for seq in string.gmatch(found.places, '%d+') do
    local record = redis.call('HGET', log_key, seq)
    if record then
        local fields = split(record)
        fields[1], fields[12], fields[13] = string.lower(fields[1]), now, ''
        local redacted = table.concat(fields, SEPARATOR)
        redis.call('HSET', log_key, seq, redacted)
        log.bytes = log.bytes - cost_bytes(record) + cost_bytes(redacted)
    end
end
return { 'deleted', log.epoch, integer(record_event(log, ARGV[13])) }
