-- The end of wal_leaving.
select pg_advisory_unlock(hashtext('pgbridge'), hashtext('versions'))
