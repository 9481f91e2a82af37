-- Makes a user a member, and a connection of the user's live.
--
-- ARGV after those of `enter`: whether anyone may join, members_max (0 = no bound), member_events_max, the record of the
-- event if it is logged.
-- Answer: that of `enter`; or 'not_allowed'; or 'limit'. Last comes whether the membership is new.

local is_new = not is_member(user)
if is_new then
    if ARGV[19] ~= '1' then
        return { 'not_allowed' }
    end
    local members_max = tonumber(ARGV[20])
    if members_max ~= 0 and redis.call('HLEN', members_key) >= members_max then
        return { 'limit' }
    end
end
local log = open()
local caused = 0
if is_new then
    -- Numbers go on upwards even after all was lost.
    redis.call('HSETNX', meta_key, 'memberships', now)
    local membership = redis.call('HINCRBY', meta_key, 'memberships', 1)
    redis.call('HSET', members_key, user, integer(membership) .. SEPARATOR .. now)
    redis.call('PERSIST', meta_key)
    redis.call('PERSIST', members_key)
    redis.call('PERSIST', cursors_key)
    redis.call('PERSIST', live_key)
    redis.call('PERSIST', users_key)
    if age_ms_max == 0 then
        redis.call('PERSIST', log_key)
        redis.call('PERSIST', messages_key)
    end
    if redis.call('HLEN', members_key) <= tonumber(ARGV[21]) then
        caused = integer(record_event(log, ARGV[22]))
    end
end
local answer = enter(log, caused)
answer[#answer + 1] = is_new and 'new' or 'known'
return answer
