-- Changes and messages that could not be applied. The payload is not shown here: it holds row values. replay: the number of the replay
-- that asked for it last; failed_again: and it has been tried since, in vain.
create or replace view bridge.dead_letters as
select id, class, state, source, entity, key, op, error_code, error, correlation as correlation_id, message_id, attempts,
       first_seen, last_seen, next_attempt, original is not null as edited, replay, failed_again
  from bridge.dead_letter
 order by id;

-- Concurrent writes of both sides, both rows, and which one was kept.
create or replace view bridge.conflicts as
select id, at, entity, key, kind, policy, ruling,
       case when local_row is not null then json_object(fields, local_row) end as local_row,
       to_timestamp(nullif(local_ts, 0) / 1000000.0) as local_time, local_node, local_correlation,
       case when remote_row is not null then json_object(fields, remote_row) end as remote_row,
       to_timestamp(remote_ts / 1000000.0) as remote_time, remote_node, remote_correlation,
       case when resolved_at is null then 'open' else 'resolved' end as state, resolved_at, resolution, resolved_by
  from bridge.conflict
 order by id;
