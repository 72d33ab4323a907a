-- Puts changes aside that are held: see bridge.put_aside.
select bridge.put_aside($1::int[], $2::text[], $3::"char"[], $4::text[], $5::bigint[], $6::text[], $7::bigint[], $8::text[], $9::text[], $10::text[], $11::text[],
                        $12::pg_lsn[])
