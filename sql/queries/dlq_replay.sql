-- Replays the letters that match $1 to $8, $9 a second (null: at once), because of $10: the replay's number, how many they are, how many
-- were left out.
select replay, letters, left_out
  from bridge.replay_dead_letters($1::bigint[], $2, $3, $4, $5, $6, $7::interval, $8::interval, $9::numeric, $10)
