-- Notes that process $4 is about to read the message $1, with id $2 and history $3 -> how many others have died with it.
insert into bridge.suspect as s (identity, message_id, history, instance)
values ($1, $2, $3, $4)
on conflict (identity) do update
   set deaths = s.deaths + (s.instance <> excluded.instance)::int, instance = excluded.instance, noted_at = now()
returning deaths
