-- What a worker ($1: in, out) says of itself: state $2, process $3, program $4, queue depth $5, its
-- last error $6 with its code $7, if any, and its circuits $8 and $9: database, broker.
update bridge.worker
   set state = $2, pid = $3::int, program = $4,
       since = case when state = $2 and pid = $3::int then since else now() end,
       reported_at = now(), queue_depth = coalesce($5::bigint, queue_depth),
       database_circuit = $8, broker_circuit = $9,
       last_error = coalesce($6, last_error), last_error_code = case when $6::text is null then last_error_code else $7 end,
       last_error_at = case when $6::text is null then last_error_at else now() end
 where direction = $1
