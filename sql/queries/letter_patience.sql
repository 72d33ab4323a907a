-- Until the transaction ends, letters wait for a lock a tenth of deadlock_timeout, but 50 ms at least: less than what comes for the first time.
select set_config('lock_timeout', greatest(date_part('epoch', current_setting('deadlock_timeout')::interval) * 100, 50)::int || 'ms', true)
