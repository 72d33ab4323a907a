-- Remembers what was installed.
insert into bridge.fingerprint values ('install', $1)
on conflict (name) do update set value = excluded.value
