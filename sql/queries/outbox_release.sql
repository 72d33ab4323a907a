-- Forgets what is confirmed, transactions $1 and the part of transaction $2 with sequence numbers above $3 up to $4,
-- and records progress: epoch $5, message number $6, $7 changes captured, $8 published in $9 messages of $10 bytes. Rows of
-- the layouts $11 were not read and stay.
with whole as (delete from bridge.outbox where txid = any ($1::xid8[]) and layout <> all ($11::int[])),
     part as (delete from bridge.outbox where txid = $2::xid8 and seq > $3::bigint and seq <= $4::bigint
                                           and layout <> all ($11::int[]))
update bridge.outbound
   set epoch = $5, sequence = $6::bigint,
       confirmed = bridge.confirm(confirmed, $5, $6::bigint),
       captured = captured + $7::bigint, published = published + $8::bigint,
       messages = messages + $9::bigint, bytes = bytes + $10::bigint, last_message = now()
