-- Puts a heartbeat into the log, and says what it is: a time later than that of any before, and the newest heartbeats heard, of those none of whose
-- deletions are put aside (outbox_window). Everything committed before it
-- comes before it in the log, the changes of those whose heartbeats were heard included.
with said as (
    update bridge.outbound
       set said_us = greatest(said_us + 1, (date_part('epoch', statement_timestamp()) * 1000000)::bigint)
    returning said_us),
spoken as (
    select json_build_object('time', (select said_us from said),
           'heard', coalesce((select json_agg(json_build_array(p.name, p.sent_us, p.received_us))
                                from bridge.peer p
                               where p.sent_us is not null
                                 and not exists (select from bridge.dead_letter d where d.state = 'retrying' and d.error_code = 'PAUSED'
                                                                                    and d.op = 'deleted' and d.source = p.name)), '[]'),
           'confirmed', (select confirmed from bridge.outbound))::text as heartbeat)
select heartbeat, pg_logical_emit_message(true, 'pgbridge.heartbeat', heartbeat) from spoken
