-- Keeps a dead letter. The same letter, delivered again, only counts. A key of several columns ($13) is kept as the text of its
-- array; one that waits for a time is tried when $14 (microseconds since 1970) has passed, one of a paused entity when that is resumed;
-- neither has spent anything till then. $15: deletions up to then may have been forgotten.
insert into bridge.dead_letter as d (class, state, source, entity, key, op, version_ts, error_code, error, correlation,
                                     message_id, payload, next_attempt, attempts, horizon_us)
values ($1, $2, $3, $4, case when $13::boolean then $5::text::text[]::text else $5::text end, $6, $7::bigint, $8, $9, $10, $11, $12::bytea,
        case when $2 = 'retrying' and $8 is distinct from 'PAUSED'
             then coalesce(to_timestamp($14::bigint / 1000000.0),
                           now() + coalesce((select e.retry_base from bridge.entity e where e.name = $4), '1 s')) end,
        case when $14::bigint is null and $8 is distinct from 'PAUSED' then 1 else 0 end, $15::bigint)
on conflict (coalesce(source, ''), coalesce(entity, ''), md5(coalesce(key, '')), coalesce(version_ts, 0), md5(coalesce(original, payload)))
    where state in ('retrying', 'parked', 'quarantined')
do update set attempts = d.attempts + excluded.attempts, last_seen = now(), error_code = excluded.error_code, error = excluded.error, until_mended = false
