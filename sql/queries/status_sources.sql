-- What became of everything received since install, per source, for people. A source that is no peer has refused messages
-- only.
select i.source, i.messages::text, i.received::text, i.applied::text, i.same::text, i.duplicate::text, i.stale::text,
       i.echo::text, i.kept::text, i.dead_letters::text, i.conflicts::text, i.refused::text, i.gaps::text
  from bridge.inbound i
 order by i.source
