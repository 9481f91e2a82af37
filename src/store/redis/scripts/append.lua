-- Stores a message.
--
-- KEYS: the eighth is the entry of its `tempId`.
-- ARGV from the ninth: user, whether it is for a server of the application, device, message id, sentAt, record, whether
-- there is a `tempId`, dedup_ms, for how long a room is kept in which nobody is.
-- Answer: 'appended', whether it had been stored before, epoch ('' = no log), seq, message id, sentAt; or 'not_a_member'.

local user, is_server, device = ARGV[9], ARGV[10] == '1', ARGV[11]
if not is_server and not is_member(user) then
    return { 'not_a_member' }
end
local log = open()
local has_temp_id = ARGV[15] == '1'
local first = has_temp_id and redis.call('GET', KEYS[8])
if first then
    local epoch, seq, id, sent_at = unpack(split(first))
    -- The answer of a log that was lost speaks of a message that is no longer there.
    if epoch == (log and log.epoch or '') then
        -- Written again, so that whoever waits for the replicas waits for this.
        redis.call('SET', KEYS[8], first, 'KEEPTTL')
        return { 'appended', 1, epoch, seq, id, sent_at }
    end
end
local seq = integer(record_event(log, ARGV[14]))
if log and redis.call('HEXISTS', log_key, seq) == 1 then
    redis.call('HSET', messages_key, ARGV[12], seq)
    if age_ms_max ~= 0 then
        redis.call('PEXPIRE', messages_key, integer(age_ms_max + 60000))
    end
end
if log and redis.call('HEXISTS', cursors_key, user) == 1 then
    -- Whoever had everything before it has it too: it is the user's own.
    local it, here, grew = cursors_of(log, user), log.head, false
    if it.delivered + 1 == here then
        it.delivered, grew = here, true
    end
    if it.seen + 1 == here then
        it.seen, grew = here, true
    end
    local _, known = device_of(it, device)
    if known and known[2] + 1 == here then
        known[2], grew = here, true
    end
    if grew then
        save_cursors(user, it)
    end
end
if is_server and redis.call('HLEN', members_key) == 0 then
    let_expire(ARGV[17])
end
local epoch = log and log.epoch or ''
if has_temp_id then
    local entry = table.concat({ epoch, seq, ARGV[12], ARGV[13] }, SEPARATOR)
    redis.call('SET', KEYS[8], entry, 'PX', ARGV[16])
end
return { 'appended', 0, epoch, seq, ARGV[12], ARGV[13] }
