-- Letter $1, for people, but for its values: a title, then label and text of each fact; whether it can be read; then all of it as JSON.
with letter as (
    select d.*, p.payload, p.raw, p.original, e.max_attempts, to_timestamp((p.payload -> 'versions' ->> 0)::bigint / 1000000.0) as written
      from bridge.dead_letters d
      join bridge.dead_letter_payloads p on p.id = d.id
      left join bridge.entities e on e.entity = d.entity
     where d.id = $1::bigint)
select format('letter %s: %s', l.id, coalesce(nullif(concat_ws(' ', l.entity, l.key, l.op), ''), format('%s bytes that could not be read', octet_length(l.raw)))),
       f.label, f.fact, l.raw is null,
       json_build_object('id', l.id, 'class', l.class, 'state', l.state, 'source', l.source, 'entity', l.entity, 'key', l.key,
                         'op', l.op, 'error_code', l.error_code, 'error', l.error, 'correlation_id', l.correlation_id,
                         'message_id', l.message_id, 'attempts', l.attempts, 'first_seen', l.first_seen, 'last_seen', l.last_seen,
                         'next_attempt', l.next_attempt, 'edited', l.edited, 'replay', l.replay, 'payload', l.payload,
                         'raw', translate(encode(l.raw, 'base64'), E'\n', ''),
                         'original', translate(encode(l.original, 'base64'), E'\n', ''))
  from letter l
 cross join lateral (values
    (1, 'class', case l.class when 'transient' then 'transient: the cause may go away by itself'
                              when 'permanent' then 'permanent: fails again until data, schema or mapping are changed'
                              else 'poison: the message itself could not be read' end),
    (2, 'state', case when l.state = 'retrying' then format('retrying, next %s', to_char(l.next_attempt, 'YYYY-MM-DD HH24:MI:SS UTC'))
                      else l.state end),
    (3, 'attempts', concat(l.attempts, ' of ' || l.max_attempts)),
    (4, 'error', concat_ws(' ', l.error_code || ':', l.error)),
    (5, 'source', l.source),
    (6, 'written', to_char(l.written, 'YYYY-MM-DD HH24:MI:SS.US UTC')),
    (7, 'first seen', to_char(l.first_seen, 'YYYY-MM-DD HH24:MI:SS UTC')),
    (8, 'last seen', to_char(l.last_seen, 'YYYY-MM-DD HH24:MI:SS UTC')),
    (9, 'correlation', l.correlation_id),
    (10, 'message', l.message_id),
    (11, 'edited', case when l.edited then 'yes; --json shows the original' end)) as f (o, label, fact)
 where f.fact <> ''
 order by f.o
