-- Letters that wait for a human are not tried because something else was applied.
alter table bridge.dead_letter add column until_mended boolean not null default false;
comment on column bridge.dead_letter.until_mended is
    'It has failed last for what only a human can mend, such as a missing privilege or table.';
