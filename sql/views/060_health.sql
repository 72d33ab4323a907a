-- Checks a monitor can alarm on: status is healthy, warning or critical; hint says what to do.
create or replace view bridge.health as
with measured (check_name, value, warning, critical, unit, hint) as (
    select 'queue depth', coalesce((select queue_depth from bridge.worker where direction = 'in'), 0)::numeric, 100, 1000,
           'messages', 'Messages of peers wait to be applied: look at bridge.status for the inbound error, and at the locks of the target tables.'
    union all
    select 'oldest pending change', coalesce((select max(round(seconds::numeric, 1)) from bridge.lag where direction = 'out'), 0), 5, 30,
           's', 'Committed changes wait to be published: is the adapter running, and does the broker accept messages?'
    union all
    select 'outbox', (select count(*) from (select from bridge.outbox limit 1000001) o), 100000, 1000000,
           'changes', 'Committed changes pile up in bridge.outbox, which grows with them: is the adapter running, does the broker accept messages, is something paused?'
    union all
    select 'failure rate', coalesce((select round(100.0 * sum(window_failed) / nullif(sum(window_received), 0), 2)
                                       from bridge.inbound where window_start > now() - interval '2 hours'), 0), 1, 5,
           '%', 'Changes received in the last hour that could not be applied: see bridge.dead_letters.'
    union all
    select 'dead letters', (select count(*) from bridge.dead_letter where state in ('retrying', 'parked', 'quarantined')
                                and coalesce(error_code, '') not in ('PAUSED', 'STORM')), 1, 10,
           'letters', 'Changes that could not be applied are kept: pgbridge dlq list; mend the cause, and pgbridge dlq replay.'
    union all
    select 'open conflicts', (select count(*) from bridge.conflict where resolved_at is null), 1, 100,
           'conflicts', 'Both sides wrote what cannot stand together, and nobody has decided yet: pgbridge conflict list --open.'
    union all
    select 'policies differ', count(*), 1, 1, 'entities',
           string_agg(format('Conflicts of %s are settled by "%s" on %s and by "%s" here, so that both sides end unequal: make them the same in both configs, and run pgbridge install.',
                             entity, policy_there, source, policy_here), ' ' order by entity, source)
      from bridge.disagreement
    union all
    select 'message gaps', coalesce((select sum(upper(r) - lower(r)) from bridge.gap, unnest(missing) r
                                      where filled_at is null and acknowledged_at is null and epoch <> 'log'), 0), 1, 1,
           'messages', 'Numbered messages of a peer never arrived (bridge.gaps): compare the tables of both sides, then bridge.acknowledge_gap(id, reason).'
    union all
    select 'log kept', case when s.restart_lsn is not null and not pg_is_in_recovery() then round((pg_current_wal_lsn() - s.restart_lsn) / 1073741824.0, 2) else 0 end,
           round(n.wal_keep_max / 2147483648.0, 2), round(n.wal_keep_max / 1073741824.0, 2), 'GiB',
           'The server keeps its log for this node: is the adapter running, and does the broker accept messages? Beyond wal_keep_max the slot is given up, and what is lost is noted in bridge.gaps. With capture by triggers: restart the adapter, which gives the slot up.'
      from bridge.node n
      left join pg_replication_slots s on s.slot_name = bridge.slot_name(n.name) and s.database = current_database()
    union all
    select 'log lost', (select count(*) from bridge.gap where epoch = 'log' and acknowledged_at is null), 1, 1,
           'times', 'The server had to remove log that this node had not read (bridge.gaps): pgbridge resend what was written then, or compare the tables; then bridge.acknowledge_gap(id, reason).'
    union all
    select 'replication slot', (select count(*) from bridge.node n where n.capture = 'wal' and not exists (
               select from pg_replication_slots s where s.slot_name = bridge.slot_name(n.name) and s.database = current_database() and s.wal_status <> 'lost')), 1, 1,
           'missing', 'Without its slot this node captures nothing: pgbridge install.'
    union all
    select 'peer clock offset', coalesce((select max(round(greatest(abs(offset_us) - round_trip_us / 2, 0) / 1000000.0, 3)) from bridge.peer), 0), 0.25, 60,
           's', 'A peer''s clock differs from this one''s, and the later clock wins conflicts: see bridge.peers, and mend NTP.'
    union all
    select 'peer silent', coalesce((select max(round(date_part('epoch', now())::numeric - greatest(p.received_us, p.alive_us) / 1000000.0, 1))
                                      from bridge.peer p join bridge.worker w on w.direction = 'in' and w.state = 'running'
                                     where w.reported_at > now() - interval '30 s'), 0), 30, 300,
           's', 'A peer that was heard before says nothing, not even that it lives (bridge.peers): is its adapter running, and is this node''s queue still bound to the exchange? "pgbridge install" binds it again.'
    union all
    select 'broker circuit', (select count(*) from bridge.worker where broker_circuit <> 'closed' and reported_at > now() - interval '30 s'), 1, 2,
           'of 2', (select string_agg(distinct coalesce(substring(last_error from 'HINT: (.*)$'), last_error), ' ')
                      from bridge.worker where broker_circuit <> 'closed')
    union all
    select 'broker alarm', (select count(*) from bridge.worker where state = 'broker blocked' and reported_at > now() - interval '30 s'), 1, 2,
           'blocked', 'The broker is short of memory or disk and takes no messages: "rabbitmq-diagnostics alarms". Changes wait in the outbox.'
    union all
    select 'workers away', (select count(*) from bridge.worker
                             where state not in ('running', 'standby', 'paused', 'broker blocked') or reported_at is null
                                or reported_at < now() - interval '30 s'), 1, 2,
           'of 2', 'The adapter is not running or not connected: systemctl status pgbridge@<node>, and its log.'
    union all
    -- What operators have paused is no failure, and not to be forgotten either; what has paused itself waits for a decision.
    select 'paused', count(*), 1, null, 'pauses',
           string_agg(coalesce(reason || ': ', '') || 'pgbridge resume' || coalesce(' --entity ' || entity, '') || ' --direction ' || direction, '; ' order by id)
      from bridge.pause where resumed_at is null and not itself
    union all
    select 'paused by itself', count(*), 1, 1, 'pauses',
           string_agg(reason || ': pgbridge resume' || coalesce(' --entity ' || entity, '') || ' --direction ' || direction, '; ' order by id)
      from bridge.pause where resumed_at is null and itself
    union all
    select 'slowed changes', coalesce(sum(late.changes), 0), 1, null, 'changes',
           string_agg(format('%s is published at %s changes/s at most (max_changes_per_second): find who writes so much, or raise it.',
                             e.name, e.max_changes_per_second), ' ' order by e.name) filter (where late.changes > 0)
      from bridge.entity e
     cross join lateral (select count(*) as changes from bridge.outbox o
                          where o.layout in (select l.id from bridge.layout l where l.entity = e.id)
                            and o.ts < (date_part('epoch', now()) * 1000000)::bigint - 2000000) late
     where e.max_changes_per_second is not null
    union all
    select 'ping-pong', count(distinct (d.entity, d.key)), 1, null, 'rows',
           format('Several nodes rewrite these rows in turns; each cools down by itself. Find who writes (triggers, jobs); to go on at once: pgbridge resume --entity %s --key %s',
                  min(d.entity), quote_literal((array_agg(d.key order by d.entity, d.id))[1]))
      from bridge.dead_letter d where d.state = 'retrying' and d.error_code = 'STORM')
select check_name as "check",
       case when value >= critical then 'critical' when value >= warning then 'warning' else 'healthy' end as status,
       value, unit, case when value >= warning then hint end as hint
  from measured;
