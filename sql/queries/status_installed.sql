-- Whether the bridge is installed in this database, as far as the catalog tells.
select exists (select from pg_class c join pg_namespace n on n.oid = c.relnamespace
                where n.nspname = 'bridge' and c.relname in ('node', 'health', 'status')
               having count(*) = 3)
