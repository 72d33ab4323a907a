-- Whether there may be rows in the outbox that the log does not tell of: what triggers put there before this node captured from the log, and what
-- was there when a part of the log was lost.
alter table bridge.outbound add column drains boolean not null default true;
