-- Adds what came of a transaction to the counters of its source $1. The failure rate counts within a running hour, and
-- not the $20 that are held on purpose.
insert into bridge.inbound as i (source, epoch, sequence, messages, bytes, gaps, refused, received, applied, same, duplicate,
                                 stale, echo, kept, dead_letters, conflicts, unchanged, ignored, last_message, newest,
                                 window_received, window_failed)
values ($1, $2, $3::bigint, $4::bigint, $5::bigint, $6::bigint, $7::bigint, $8::bigint, $9::bigint, $10::bigint,
        $11::bigint, $12::bigint, $13::bigint, $14::bigint, $15::bigint, $16::bigint, $17::bigint, $18::bigint, now(),
        case when $19::bigint > 0 then to_timestamp($19::bigint / 1000000.0) end, $8::bigint, $15::bigint - $20::bigint)
on conflict (source) do update
   set epoch = coalesce(excluded.epoch, i.epoch), sequence = coalesce(excluded.sequence, i.sequence),
       messages = i.messages + excluded.messages, bytes = i.bytes + excluded.bytes, gaps = i.gaps + excluded.gaps,
       refused = i.refused + excluded.refused, received = i.received + excluded.received,
       applied = i.applied + excluded.applied, same = i.same + excluded.same,
       duplicate = i.duplicate + excluded.duplicate, stale = i.stale + excluded.stale, echo = i.echo + excluded.echo,
       kept = i.kept + excluded.kept, dead_letters = i.dead_letters + excluded.dead_letters,
       conflicts = i.conflicts + excluded.conflicts, unchanged = i.unchanged + excluded.unchanged,
       ignored = i.ignored + excluded.ignored,
       last_message = excluded.last_message, newest = greatest(i.newest, excluded.newest),
       window_start = case when i.window_start < now() - interval '1 hour' then now() else i.window_start end,
       window_received = excluded.window_received
                         + case when i.window_start < now() - interval '1 hour' then 0 else i.window_received end,
       window_failed = excluded.window_failed
                       + case when i.window_start < now() - interval '1 hour' then 0 else i.window_failed end
