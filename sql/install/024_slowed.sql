-- Entities that are behind their max_changes_per_second: of what waits in the log nobody else knows whose it is.
alter table bridge.worker add column slowed text[] not null default '{}';
