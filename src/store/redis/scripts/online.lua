-- Members that are live, on any node; at most so many.
--
-- ARGV from the ninth: user, whether it is for a server of the application, how many.
-- Answer: 'users', and they; or 'not_a_member'.

if not may_ask(ARGV[9], ARGV[10] == '1') then
    return { 'not_a_member' }
end
local answer = redis.call('SRANDMEMBER', users_key, ARGV[11])
table.insert(answer, 1, 'users')
return answer
