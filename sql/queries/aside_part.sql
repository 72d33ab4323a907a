-- About $3 rows of transaction $1 after sequence number $2, but those of the layouts $4: of many that were put aside together. Those of one commit are
-- not parted, as long as they are no more than $5.
with given as (
    select o.seq, o.lsn
      from bridge.outbox o
     where o.txid = $1::xid8 and o.seq > $2::bigint and o.layout <> all ($4::int[])
     order by o.seq
     limit $3::bigint),
last as (select g.seq, g.lsn from given g order by g.seq desc limit 1)
select 1::bigint as n, o.seq, o.layout, o.op, o.ts, o.base_ts, o.node, o.base_node, o.correlation, o.traceparent, o.seen::text, o.merge::text, o.fields
  from bridge.outbox o
 where o.txid = $1::xid8 and o.seq > $2::bigint and o.layout <> all ($4::int[])
   and o.seq <= (select max(s.seq)
                  from last l, (select seq, lsn from bridge.outbox where txid = $1::xid8 and seq > $2::bigint and layout <> all ($4::int[]) order by seq limit $5::bigint) s
                 where s.lsn is not distinct from l.lsn)
 order by o.seq
 limit $5::bigint
