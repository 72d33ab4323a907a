-- Letter $1 has failed again, with code $2 and text $3: it is tried ever more seldom, at most every minute.
update bridge.dead_letter
   set attempts = attempts + 1, last_seen = now(), error_code = $2, error = $3,
       next_attempt = now() + (0.5 + random() / 2) * least(60, power(2, least(attempts, 10))) * interval '1 s'
 where id = $1::bigint
