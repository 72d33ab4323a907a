-- Whether the adapter's role $1 exists, and whether the bridge is installed here.
select exists (select from pg_roles where rolname = $1::name), to_regclass('bridge.fingerprint') is not null
