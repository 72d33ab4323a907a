-- Letters wait for a lock a fifth as long as what is applied for the first time, until the transaction ends.
select set_config('lock_timeout', greatest(date_part('epoch', current_setting('deadlock_timeout')::interval) * 100, 50)::int || 'ms', true)
