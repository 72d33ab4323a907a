-- Whether the schema is at version $1, the program's.
select 'error', 'schema bridge', format('it is at version %s, this program needs %s', v.number, $1::int),
       case when v.number < $1::int then 'run "pgbridge install"'
            else 'a newer pgbridge has installed it: use that program here' end
  from (select coalesce(max(number), 0) as number from bridge.version) v
 where v.number <> $1::int
