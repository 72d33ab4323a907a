-- Some of the keys that are left.
fetch forward 500 from resend
