-- Of the latest incarnations of this node's sender, oldest first: [[epoch, number up to which the broker has confirmed all messages], ...].
alter table bridge.outbound add column confirmed jsonb not null default '[]';
