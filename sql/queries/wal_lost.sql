-- Notes what of the log was lost, if anything was: see bridge.note_lost_log.
select from_lsn, to_lsn from bridge.note_lost_log() where from_lsn is not null
