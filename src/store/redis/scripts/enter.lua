-- What a connection learns of a room when it becomes live there. It stands before `join` and `attach`.
--
-- ARGV from the ninth: user, device, node on which it becomes live ('' = it does not), devices_max, recover_events_max,
-- recover_bytes_max, what it says it has ('since', epoch, seq, message id), or as much as costs so many bytes of what its
-- device was not delivered ('resume', bytes_max, '', ''), or nothing ('', '', '', '').
--
-- Answer: 'entered', epoch ('' = no log), head, membership, members, delivered, seen, unread, whether what was missed can
-- be told, whether there is more of it, place of the first that is told, place of the event that this caused (0 = none),
-- and what is told.

local user, device, node = ARGV[9], ARGV[10], ARGV[11]
local devices_max, recover_events_max, recover_bytes_max =
    tonumber(ARGV[12]), tonumber(ARGV[13]), tonumber(ARGV[14])

local function enter(log, caused)
    local membership = string.match(redis.call('HGET', members_key, user), '^%d+')
    local members = redis.call('HLEN', members_key)
    if node ~= '' then
        local nodes = redis.call('HGET', live_key, user) or ' '
        if not string.find(nodes, ' ' .. node .. ' ', 1, true) then
            redis.call('HSET', live_key, user, nodes .. node .. ' ')
            redis.call('SADD', users_key, user)
        end
    end
    if not log then
        return { 'entered', '', 0, membership, members, 0, 0, 0, 0, 0, 0, caused }
    end
    if trim(log) then
        save(log)
    end
    local it = cursors_of(log, user)
    if node ~= '' then
        touch(it, device, 0, devices_max)
    end
    if it.is_new or (node ~= '' and device ~= '') then
        save_cursors(user, it)
    end
    local delivered = delivered_to(log, it, device)
    local missed, more, after = nil, false, delivered
    if ARGV[15] == 'since' then
        after = tonumber(ARGV[17])
        missed = since(log, ARGV[16], after, ARGV[18], recover_events_max, recover_bytes_max)
    elseif ARGV[15] == 'resume' then
        local share = tonumber(ARGV[16])
        local page_bytes_max = (share == 0 or recover_bytes_max == 0) and math.max(share, recover_bytes_max)
            or math.min(share, recover_bytes_max)
        missed, more = queue(log, delivered, recover_events_max, page_bytes_max, 0)
    end
    local answer = {
        'entered', log.epoch, integer(log.head), membership, members, integer(delivered), integer(it.seen),
        unread(log, user, it.seen), missed and 1 or 0, more and 1 or 0, missed and integer(after + 1) or 0, caused,
    }
    for _, record in ipairs(missed or {}) do
        answer[#answer + 1] = record
    end
    return answer
end
