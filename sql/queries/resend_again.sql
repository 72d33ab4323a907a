-- Back to before the first one.
move absolute 0 in resend
