-- Ends a membership.
--
-- ARGV from the ninth: user, member_events_max, the record of the event if it is logged, for how long a room is kept in
-- which nobody is.
-- Answer: 'left', membership, epoch, place of the event (0 = none), whether there was an event; or 'not_a_member'.

local user = ARGV[9]
local kept = redis.call('HGET', members_key, user)
if not kept then
    return { 'not_a_member' }
end
local members = redis.call('HLEN', members_key)
local log = open()
redis.call('HDEL', members_key, user)
redis.call('HDEL', cursors_key, user)
redis.call('HDEL', live_key, user)
redis.call('SREM', users_key, user)
local caused, seq = 0, 0
if members <= tonumber(ARGV[10]) then
    caused, seq = 1, integer(record_event(log, ARGV[11]))
end
if members == 1 then
    let_expire(ARGV[12])
end
return { 'left', string.match(kept, '^%d+'), log and log.epoch or '', seq, caused }
