-- Forgets the rows of the outbox that are confirmed, of transactions $1 the sequence numbers $2, and records progress: epoch $3, message number $4, $5 changes captured, $6
-- published in $7 messages of $8 bytes; and the log is read up to $9, with $10 as the greatest time given out, its rows counting or not ($11).
with forgotten as (delete from bridge.outbox o using unnest($1::xid8[], $2::bigint[]) as f (txid, seq) where o.txid = f.txid and o.seq = f.seq)
update bridge.outbound
   set epoch = $3, sequence = $4::bigint, confirmed = bridge.confirm(confirmed, $3, $4::bigint), captured = captured + $5::bigint, published = published + $6::bigint,
       messages = messages + $7::bigint, bytes = bytes + $8::bigint, last_message = now(),
       released_lsn = $9::pg_lsn, given_us = $10::bigint, captures_log = $11::boolean, released_at = now()
