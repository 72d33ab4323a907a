-- What triggers tell after a switch comes after what the log has yet to tell, however the clock has gone meanwhile.
alter table bridge.node add column floor_us bigint;
comment on column bridge.node.floor_us is
    'The time that writes captured by triggers have at least while the log is still told that they follow (microseconds since 1970).';
-- It begins anew with each log.
update bridge.outbound set given_us = 0 where released_lsn is null;
