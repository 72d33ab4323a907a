-- A peer that holds changes back says that it lives, and no more: no deletion is forgotten on its word.
alter table bridge.peer add column alive_us bigint; -- when it last said so, by our clock

-- Letters that have ended, by when they did.
create index dead_letter_ended on bridge.dead_letter (last_seen) where state not in ('retrying', 'parked', 'quarantined');
