-- The last error of each worker.
select direction, to_char(last_error_at, 'YYYY-MM-DD HH24:MI:SS'), last_error, coalesce(last_error_code, '')
  from bridge.worker
 where last_error is not null
 order by direction desc
