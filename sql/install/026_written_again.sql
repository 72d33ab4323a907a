-- What is told of a deletion: whether this node wrote the row again.
drop function if exists bridge.settle_deletion(smallint, text, bridge.known);
