-- Table $2 of schema $1, if there is one that can be mirrored.
select c.oid from pg_class c join pg_namespace n on n.oid = c.relnamespace
 where n.nspname = $1::name and c.relname = $2::name and c.relkind in ('r', 'p')
