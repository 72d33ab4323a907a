-- Deletes some of the letters that ended more than $1 seconds ago; -> how many.
select bridge.forget_conflicts($1::bigint * interval '1 s')
