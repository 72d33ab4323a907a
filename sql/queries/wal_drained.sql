-- When nothing is left in the outbox that the log does not tell of, but for the entities $1, which are held -> drained: what is there of those
-- waits until it is let go, under a place before any other. What the log tells of it later is put in its stead.
with held as (
    select l.id from bridge.layout l join bridge.entity e on e.id = l.entity where e.name = any ($1::text[])),
empty as (
    select not exists (select from bridge.outbox o where o.lsn is null and o.layout not in (select id from held)) as yes),
kept as (
    update bridge.outbox o
       set lsn = '0/0'
     where (select yes from empty) and o.lsn is null and o.layout in (select id from held))
update bridge.outbound set drains = false where (select yes from empty) returning true as drained
