-- What is put aside has been judged by nobody: it is, when it is let go, as it would have been when it came.
alter table bridge.dead_letter
    add column horizon_us bigint not null default 0; -- bridge.collection's when it came
create index dead_letter_aside on bridge.dead_letter (entity) where state = 'retrying' and error_code = 'PAUSED';
