-- A message that a user may change. It stands before `edit` and `delete`.
--
-- ARGV from the ninth: user, whether it is for a server of the application, whether it may be what somebody else wrote,
-- message id.

local user, is_server, any_author, id = ARGV[9], ARGV[10] == '1', ARGV[11] == '1', ARGV[12]

-- The log, the places that carry the message, and its present record as fields; or an answer instead.
local function changeable()
    if not may_ask(user, is_server) then
        return nil, { 'not_a_member' }
    end
    local log = open()
    local places = log and redis.call('HGET', messages_key, id)
    if not places then
        return nil, { 'not_found' }
    end
    local latest = redis.call('HGET', log_key, string.match(places, '%d+$'))
    local fields = latest and split(latest)
    if not fields or fields[1] == 'n' or fields[1] == 'e' then
        return nil, { 'not_found' }
    end
    if fields[3] ~= user and not any_author then
        return nil, { 'forbidden' }
    end
    return { log = log, places = places, fields = fields }
end
