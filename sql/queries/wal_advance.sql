-- The log is read up to $1, with $2 as the greatest time given out, its rows counting or not ($3); nothing in between was ours to send.
update bridge.outbound set released_lsn = $1::pg_lsn, given_us = $2::bigint, captures_log = $3::boolean, released_at = now()
