-- Forgets old deletions that everybody knows, kept for $1 seconds; -> the horizon.
select bridge.collect_tombstones($1::bigint * interval '1 s')
