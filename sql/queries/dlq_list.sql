-- Letters, the newest first, for people: those that match $1 to $8 (see bridge.wanted_dead_letters) with a number below $9 (null: any),
-- at most $10. Then the same as JSON, and how many there are below $9.
with wanted as materialized (
    select w.id from bridge.wanted_dead_letters($1::bigint[], $2, $3, $4, $5, $6, $7::interval, $8::interval) w (id)
     where $9::bigint is null or w.id < $9::bigint)
select d.id, to_char(d.first_seen, 'YYYY-MM-DD HH24:MI:SS'), d.class, d.state, d.attempts,
       to_char(d.next_attempt, case when d.next_attempt < now() + interval '12 h' then 'HH24:MI:SS' else 'YYYY-MM-DD HH24:MI' end),
       d.error_code, d.source, d.entity, d.key,
       case when length(e.line) > 80 then left(e.line, 77) || '...' else e.line end,
       row_to_json(d), (select count(*) from wanted)
  from (select id from wanted order by id desc limit $10::bigint) w
  join bridge.dead_letters d on d.id = w.id
 cross join lateral (select split_part(d.error, E'\n', 1) as line) e
 order by d.id desc
