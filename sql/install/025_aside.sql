-- Of a change that the adapter has put there, because its entity is held, so that it can read the log on: where the log tells of it. 0/0: before
-- anything that the log will tell.
alter table bridge.outbox add column lsn pg_lsn;
create index outbox_aside on bridge.outbox (layout) where lsn is not null;
-- What is slowed is there, too, and counted where it is. The view is made anew.
drop view if exists bridge.health;
alter table bridge.worker drop column slowed;
