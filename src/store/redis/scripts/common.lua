-- What all scripts of a room share. It stands before each of them.
--
-- KEYS: the room's meta, log, messages, members, cursors, live, users; then the verb's own.
-- ARGV: channel, how to publish there, origin, now, epoch for a new log, and of the room's class: events_max (0 = no log),
-- age_ms_max, bytes_max; then the verb's own, from the ninth.
--
-- A record is an event as fields between unit separators: kind, when, user, and of messages also message id, device,
-- tempId, type, replyTo, version, sentAt, editedAt, deletedAt, content. Kinds: N new, E edited (both in lower case once
-- their content was taken out), D deleted, J joined, L left.

local SEPARATOR = '\31'
local EVENT_OVERHEAD_BYTES = 256
local STEPS_MAX = 16
local CHUNK = 250

local meta_key, log_key, messages_key, members_key, cursors_key, live_key, users_key = unpack(KEYS, 1, 7)
local channel, publish, origin, now, new_epoch = unpack(ARGV, 1, 5)
local events_max, age_ms_max, bytes_max = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])

local function split(text)
    local fields = {}
    for field in string.gmatch(text .. SEPARATOR, '([^\31]*)\31') do
        fields[#fields + 1] = field
    end
    return fields
end

local function integer(number)
    return string.format('%.0f', number)
end

local function cost_bytes(record)
    return EVENT_OVERHEAD_BYTES + #record
end

-- The room's log, made if it is not there; nil in a class without. A log that is new knows nobody's cursors.
local function open()
    if events_max == 0 then
        return nil
    end
    local kept = redis.call('HMGET', meta_key, 'epoch', 'head', 'first', 'bytes')
    if not kept[1] then
        redis.call('DEL', log_key, messages_key, cursors_key)
        kept = { new_epoch, '0', '1', '0' }
        redis.call('HSET', meta_key, 'epoch', new_epoch, 'head', '0', 'first', '1', 'bytes', '0')
    end
    local log = { epoch = kept[1], head = tonumber(kept[2]), first = tonumber(kept[3]), bytes = tonumber(kept[4]) }
    -- Its events may have ended by themselves.
    if log.first <= log.head and redis.call('HEXISTS', log_key, integer(log.head)) == 0 then
        log.first, log.bytes = log.head + 1, 0
    end
    return log
end

local function save(log)
    redis.call('HSET', meta_key, 'head', integer(log.head), 'first', integer(log.first), 'bytes', integer(log.bytes))
end

local function drop_first(log)
    local seq = integer(log.first)
    local record = redis.call('HGET', log_key, seq)
    log.first = log.first + 1
    if not record then
        return
    end
    redis.call('HDEL', log_key, seq)
    log.bytes = log.bytes - cost_bytes(record)
    local id = string.match(record, '^[NnEe]\31[^\31]*\31[^\31]*\31([^\31]*)')
    local places = id and redis.call('HGET', messages_key, id)
    -- A message whose edits are still kept can still be deleted; then their content goes too.
    if places and tonumber(string.match(places, '%d+$')) < log.first then
        redis.call('HDEL', messages_key, id)
    end
end

-- Drops what is over the class's bounds. Returns whether anything was.
local function trim(log)
    local before = log.first
    while log.first <= log.head do
        local over = log.head - log.first + 1 > events_max or (bytes_max ~= 0 and log.bytes > bytes_max)
        if not over and age_ms_max ~= 0 then
            local oldest = redis.call('HGET', log_key, integer(log.first))
            over = not oldest or tonumber(string.match(oldest, '^.\31(%d+)')) + age_ms_max < tonumber(now)
        end
        if not over then
            break
        end
        drop_first(log)
    end
    return log.first ~= before
end

local function tell(...)
    redis.call(publish, channel, table.concat({ ... }, SEPARATOR))
end

-- Gives an event its place, keeps it, and tells everyone. In a room without a log it is only told.
local function record_event(log, record)
    if not log then
        tell('E', origin, '', '', record)
        return 0
    end
    log.head = log.head + 1
    redis.call('HSET', log_key, integer(log.head), record)
    log.bytes = log.bytes + cost_bytes(record)
    trim(log)
    save(log)
    if age_ms_max ~= 0 then
        redis.call('PEXPIRE', log_key, integer(age_ms_max + 60000))
        redis.call('PEXPIRE', messages_key, integer(age_ms_max + 60000))
    end
    tell('E', origin, log.epoch, integer(log.head), record)
    return log.head
end

-- Nobody is a member: what is left ends some day.
local function let_expire(idle_ms)
    for index = 1, 7 do
        redis.call('PEXPIRE', KEYS[index], idle_ms)
    end
end

-- Some records in a row, up to a place, as a function that gives one after the other with its seq.
local function records(from, to)
    local buffer, at, seq = {}, 1, from - 1
    return function()
        seq = seq + 1
        if seq > to then
            return nil
        end
        if at > #buffer then
            local seqs = {}
            for next = seq, math.min(seq + CHUNK - 1, to) do
                seqs[#seqs + 1] = integer(next)
            end
            buffer, at = redis.call('HMGET', log_key, unpack(seqs)), 1
        end
        at = at + 1
        return seq, buffer[at - 1]
    end
end

-- A user's cursors: start, delivered, seen, and what else there is to say. They never go beyond the head.
local function cursors_of(log, user)
    local kept = redis.call('HGET', cursors_key, user)
    if not kept then
        return { start = log.head, delivered = log.head, seen = log.head, more = nil, is_new = true }
    end
    local start, delivered, seen, more = string.match(kept, '^(%d+)\31(%d+)\31(%d+)\31(.*)$')
    return {
        start = math.min(tonumber(start), log.head),
        delivered = math.min(tonumber(delivered), log.head),
        seen = math.min(tonumber(seen), log.head),
        more = more ~= '' and cjson.decode(more) or nil,
    }
end

local function save_cursors(user, it)
    local more = it.more and cjson.encode(it.more) or ''
    local fields = { integer(it.start), integer(it.delivered), integer(it.seen), more }
    redis.call('HSET', cursors_key, user, table.concat(fields, SEPARATOR))
end

local function more_of(it)
    it.more = it.more or { delivered = {}, seen = {}, devices = {} }
    return it.more
end

local function device_of(it, device)
    for place, known in ipairs(it.more and it.more.devices or {}) do
        if known[1] == device then
            return place, known
        end
    end
end

-- What a device was delivered. One that has no name, or is not known, is taken to have what its user has.
local function delivered_to(log, it, device)
    local _, known = device_of(it, device)
    return known and math.min(known[2], log.head) or it.delivered
end

-- Notes that a device is used, and has everything up to a place. The one not used for longest gives way.
local function touch(it, device, seq, devices_max)
    if device == '' then
        return
    end
    local place, known = device_of(it, device)
    local devices = more_of(it).devices
    if place then
        table.remove(devices, place)
    else
        known = { device, it.delivered }
    end
    if devices_max ~= 0 and #devices >= devices_max then
        table.remove(devices, 1)
    end
    known[2] = math.max(known[2], seq)
    devices[#devices + 1] = known
end

-- Others' messages that a user has not seen.
local function unread(log, user, seen)
    local count = 0
    for _, record in records(math.max(seen + 1, log.first), log.head) do
        if record and string.sub(record, 1, 1) == 'N' and string.match(record, '^N\31%d+\31([^\31]*)') ~= user then
            count = count + 1
        end
    end
    return count
end

-- Exactly the events after a place, or nil when the log cannot tell or there are too many.
local function since(log, epoch, after, id, recover_events_max, recover_bytes_max)
    local missed = log.head - after
    if epoch ~= log.epoch or missed < 0 or after + 1 < log.first then
        return nil
    end
    if id ~= '' then
        local there = redis.call('HGET', log_key, integer(after))
        if there and string.match(there, '^[NnEeD]\31[^\31]*\31[^\31]*\31([^\31]*)') ~= id then
            return nil
        end
    end
    if recover_events_max ~= 0 and missed > recover_events_max then
        return nil
    end
    local found, bytes = {}, 0
    for _, record in records(after + 1, log.head) do
        if not record then
            return nil
        end
        bytes = bytes + cost_bytes(record)
        if recover_bytes_max ~= 0 and bytes > recover_bytes_max then
            return nil
        end
        found[#found + 1] = record
    end
    return found
end

-- As many events after a place as fit, but at least so many; and whether there are more. nil when the log no longer
-- reaches back so far.
local function queue(log, after, page_events_max, page_bytes_max, events_min)
    if after > log.head or after + 1 < log.first then
        return nil, false
    end
    local found, bytes = {}, 0
    for _, record in records(after + 1, log.head) do
        if not record then
            return nil, false
        end
        local cost = cost_bytes(record)
        local within = page_bytes_max == 0 or bytes + cost <= page_bytes_max
        local fits = (page_events_max == 0 or #found < page_events_max) and (within or #found < events_min)
        if not fits then
            break
        end
        bytes = bytes + cost
        found[#found + 1] = record
    end
    return found, #found < log.head - after
end

local function is_member(user)
    return redis.call('HEXISTS', members_key, user) == 1
end

-- Whether somebody may ask about the room: a member, or a server of the application if there is such a room.
local function may_ask(user, is_server)
    return is_member(user) or (is_server and redis.call('EXISTS', meta_key) == 1)
end
