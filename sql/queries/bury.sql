-- Keeps a dead letter. The same letter, delivered again, only counts.
insert into bridge.dead_letter as d (class, state, source, entity, key, op, version_ts, error_code, error, correlation,
                                     message_id, payload)
values ($1, $2, $3, $4, $5, $6, $7::bigint, $8, $9, $10, $11, $12::bytea)
on conflict (coalesce(source, ''), coalesce(entity, ''), md5(coalesce(key, '')), coalesce(version_ts, 0), md5(payload))
    where state in ('retrying', 'parked', 'quarantined')
do update set attempts = d.attempts + 1, last_seen = now(), error_code = excluded.error_code, error = excluded.error
