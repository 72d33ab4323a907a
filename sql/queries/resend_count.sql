-- How many keys there are, as the command's tag.
move forward all in resend
