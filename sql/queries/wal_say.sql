-- Of updates that lack a value those that could be said as a whole, by number: see bridge.say_whole.
select n from bridge.say_whole($1::smallint[], $2::text[], $3::"char"[], $4::bigint[], $5::xid[], $6::bigint[], $7::bigint[], $8::text[], $9::text[],
                               $10::text[], $11::text[]) n
