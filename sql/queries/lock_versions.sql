-- Of a node that captures from the WAL one transaction at a time writes row_version: what capture notes apply must not judge at the same moment.
select pg_advisory_xact_lock(hashtext('pgbridge'), hashtext('versions'))
