-- Deletes some of the letters that ended more than $1 seconds ago; -> how many.
select bridge.forget_dead_letters($1::bigint * interval '1 s')
