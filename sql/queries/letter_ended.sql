-- Letter $1 waits no more: it becomes $2 (released, superseded or settled).
update bridge.dead_letter set state = $2, last_seen = now(), next_attempt = null where id = $1::bigint
