-- Messages in their present state, each with the place where it first stood; ascending.
--
-- ARGV from the ninth: user, whether it is for a server of the application, from where ('newest', 'before' or 'after') and
-- which seq, at most how many, and how many bytes of content (0 = no bound; one message always fits).
-- Answer: 'messages', epoch ('' = no log), whether there are more in that direction, and for each its seq and record; or
-- 'not_a_member'.

if not may_ask(ARGV[9], ARGV[10] == '1') then
    return { 'not_a_member' }
end
local log = open()
if not log then
    return { 'messages', '', 0 }
end
if trim(log) then
    save(log)
end
local from, place, limit, page_bytes_max = ARGV[11], tonumber(ARGV[12]), tonumber(ARGV[13]), tonumber(ARGV[14])
local found, bytes, has_more = {}, 0, 0

-- Takes the message that an event began, if it began one. Whether there is room for more.
local function take(seq, record)
    local kind, id = string.match(record, '^([Nn])\31[^\31]*\31[^\31]*\31([^\31]*)')
    if not kind then
        return true
    end
    local places = redis.call('HGET', messages_key, id)
    local present = places and redis.call('HGET', log_key, string.match(places, '%d+$')) or record
    local size = #string.match(present, '[^\31]*$')
    if #found >= limit or (page_bytes_max ~= 0 and #found > 0 and bytes + size > page_bytes_max) then
        has_more = 1
        return false
    end
    bytes = bytes + size
    found[#found + 1] = { integer(seq), present }
    return true
end

if from == 'after' then
    for seq, record in records(math.max(place + 1, log.first), log.head) do
        if record and not take(seq, record) then
            break
        end
    end
else
    local last = from == 'before' and math.min(place - 1, log.head) or log.head
    while last >= log.first do
        local first = math.max(log.first, last - CHUNK + 1)
        local page = {}
        for seq, record in records(first, last) do
            page[seq - first + 1] = record
        end
        for seq = last, first, -1 do
            local record = page[seq - first + 1]
            if record and not take(seq, record) then
                last = 0
                break
            end
        end
        last = math.min(last, first) - 1
    end
end
local answer = { 'messages', log.epoch, has_more }
local step = from == 'after' and 1 or -1
for index = step == 1 and 1 or #found, step == 1 and #found or 1, step do
    answer[#answer + 1] = found[index][1]
    answer[#answer + 1] = found[index][2]
end
return answer
