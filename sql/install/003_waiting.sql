-- Changes that wait for a cause to go away: for a parent row, a unique value, a clock.
alter table bridge.dead_letter drop constraint dead_letter_state_check,
    add constraint dead_letter_state_check
        check (state in ('retrying', 'parked', 'quarantined', 'released', 'superseded', 'settled', 'replayed', 'discarded')),
    add column next_attempt timestamptz;
create index dead_letter_waiting on bridge.dead_letter (next_attempt) where state = 'retrying';
