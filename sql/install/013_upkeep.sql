-- A peer that holds changes back says that it lives, and no more: no deletion is forgotten on its word.
alter table bridge.peer add column alive_us bigint; -- when it last said so, by our clock
