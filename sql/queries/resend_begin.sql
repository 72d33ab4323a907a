-- Keeps note of a resend of entity $1, since $2 and of key $3 (null: of all), for person $4; with $5 it is only tried.
select bridge.begin_resend($1, case when not $5::boolean then jsonb_strip_nulls(jsonb_build_object('entity', $1::text, 'since', $2::text, 'key', $3::text)) end, $4)
