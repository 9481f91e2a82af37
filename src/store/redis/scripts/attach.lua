-- Makes a connection of a member live, or only tells where the room stands.
--
-- Answer: that of `enter`; or 'not_a_member'. Last comes 'known'.

if not is_member(user) then
    return { 'not_a_member' }
end
local answer = enter(open(), 0)
answer[#answer + 1] = 'known'
return answer
