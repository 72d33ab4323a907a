-- Discards, for reason $9, the letters that match $1 to $8: how many.
select bridge.discard_dead_letters($9, $1::bigint[], $2, $3, $4, $5, $6, $7::interval, $8::interval)
