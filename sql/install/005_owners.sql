-- Fields that one node owns: what others write to them is ignored, and counted.
alter table bridge.inbound add column ignored bigint not null default 0;
