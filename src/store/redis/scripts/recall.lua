-- The first answer to an earlier send with the same `tempId`.
--
-- KEYS: the eighth is the entry of the `tempId`.
-- Answer: as of `append`; or 'not_sent'.

local first = redis.call('GET', KEYS[8])
if first then
    local epoch, seq, id, sent_at = unpack(split(first))
    local kept = events_max ~= 0 and redis.call('HGET', meta_key, 'epoch') or ''
    if epoch == kept then
        return { 'appended', 1, epoch, seq, id, sent_at }
    end
end
return { 'not_sent' }
