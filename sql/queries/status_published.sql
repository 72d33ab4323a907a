-- What was published since install, for people.
select coalesce(sum(o.captured), 0)::text, coalesce(sum(o.published), 0)::text, coalesce(sum(o.messages), 0)::text,
       pg_size_pretty(coalesce(sum(o.bytes), 0))
  from bridge.outbound o
