-- Some of the keys that are left.
fetch forward 200 from resend
