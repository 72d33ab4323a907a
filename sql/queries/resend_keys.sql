-- The keys of the rows of entity $1 that are to be sent again, those first that were written first: since $2 (a time, or an interval before now; null:
-- all), of key $3 alone (null: all).
declare resend scroll cursor with hold for
select s.key
  from bridge.entity_state s
 where s.entity = $1 and not s.deleted
   and ($2::text is null or s.version_time >= case when $2 ~ '^\s*(\d{4}-\d|today|yesterday|now)' then $2::timestamptz else now() - $2::interval end)
   and ($3::text is null or s.key = $3)
 order by s.version_time nulls first, s.key collate "C"
