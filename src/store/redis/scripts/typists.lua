-- Members that type.
--
-- KEYS: the eighth is who types in the room.
-- ARGV from the ninth: user.
-- Answer: 'users', and they; or 'not_a_member'.

if not is_member(ARGV[9]) then
    return { 'not_a_member' }
end
local answer = { 'users' }
local typing = redis.call('HGETALL', KEYS[8])
for index = 1, #typing, 2 do
    if tonumber(string.match(typing[index + 1], '^%d+')) > tonumber(now) and is_member(typing[index]) then
        answer[#answer + 1] = typing[index]
    end
end
return answer
