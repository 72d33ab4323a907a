-- bridge.retry_wait(attempts, base, factor, cap): how long a letter that has failed so often waits for its next attempt: base, and
-- factor times as long after each further one, at most cap; jittered between half of that and all.
create or replace function bridge.retry_wait(attempts int, base interval, factor int, cap interval) returns interval
    language sql volatile
    set search_path = pg_catalog, pg_temp
as $$
    select (0.5 + random() / 2) * interval '1 s'
           * least(date_part('epoch', cap), date_part('epoch', base) * power(factor::float8, least(greatest(attempts, 1) - 1, 100)))
$$;
