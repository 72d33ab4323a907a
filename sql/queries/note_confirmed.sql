-- Of sender $1's incarnations $2 the broker has confirmed everything up to the numbers $3 -> how many of them are missing, see bridge.note_confirmed.
select bridge.note_confirmed($1, $2::text[], $3::bigint[])
