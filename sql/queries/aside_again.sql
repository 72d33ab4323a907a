-- Forgets what was put aside of commits from $1 on, as parts of a transaction that was not read to its end: the log tells of them again.
delete from bridge.outbox where lsn >= $1::pg_lsn and lsn > '0/0'
