-- What a node has certainly seen of a row that it does not know: everything up to the horizon, or it would not be forgotten. And the
-- newest heartbeat that this node has said: the next one is later, also when the clock goes back.
alter table bridge.collection add column seen jsonb;
alter table bridge.outbound add column said_us bigint not null default 0;
create index dead_letter_key on bridge.dead_letter (entity, key) where state in ('retrying', 'parked', 'quarantined');
