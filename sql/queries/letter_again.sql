-- Letter $1 has failed again, with code $2 and text $3, for a fault of $4: it is tried the more seldom the more it has spent, as its entity
-- says. Nothing is spent by an attempt before its time, which was a guess that the cause might be gone, nor by one that others' locks kept
-- from succeeding, or a privilege or table that is missing for more than this row, which somebody has to mend and therefore waits longest, nor for
-- a parent or child while changes are held that may be it. What cannot succeed by itself is parked, and what has failed too often, unless a
-- conflict about it is open.
update bridge.dead_letter d
   set class = case when n.transient then 'transient' else 'permanent' end,
       state = case when n.parked then 'parked' else 'retrying' end,
       attempts = n.attempts, last_seen = clock_timestamp(), error_code = $2, error = $3, failed_again = d.replay is not null, until_mended = $4 = 'operator',
       next_attempt = case when n.parked then null when n.early then d.next_attempt
                           when $4 = 'operator' then clock_timestamp() + bridge.retry_wait(1, n.cap, n.factor, n.cap)
                           else clock_timestamp() + bridge.retry_wait(n.attempts, n.base, n.factor, n.cap) end
  from (select s.*, not s.transient or (s.attempts >= s.max_attempts
                    and not exists (select from bridge.conflict c where c.entity = s.entity and md5(c.key) = md5(s.key)
                                       and c.remote_node = s.source and c.resolved_at is null
                                       and c.kind = 'multiple_unique_conflicts')) as parked
          from (select w.id, w.entity, w.key, w.source, w.next_attempt > now() as early, $4 in ('transient', 'contention', 'operator') as transient,
                       w.attempts + case when w.next_attempt > now() or $4 in ('contention', 'operator')
                                              or ($2 = '23503' and exists (select from bridge.dead_letter h where h.state = 'retrying'
                                                                              and h.error_code = 'PAUSED')) then 0 else 1 end as attempts,
                       coalesce(e.retry_base, '1 s') as base, coalesce(e.retry_factor, 2) as factor,
                       coalesce(e.retry_cap, '1 min') as cap, coalesce(e.max_attempts, 100) as max_attempts
                  from bridge.dead_letter w
                  left join bridge.entity e on e.name = w.entity
                 where w.id = $1::bigint) s) n
 where d.id = n.id
