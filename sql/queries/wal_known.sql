-- Whether the transactions $1 are seen by now; and if so, of which of the rows that they wrote, of entities $2 with keys $3, bridge.note_log has
-- anything to say -> n: of which something is known, or where it counts what the writer of an unknown row has seen (there: given).
with v as materialized (select bridge.are_visible($1::xid[]) as visible)
select v.visible, g.n
  from v left join unnest($2::smallint[], $3::text[]) with ordinality as g (entity, key, n)
    -- No row is looked up before.
    on case when v.visible then g.entity = any (array(select e.id from bridge.entity e where e.policy in ('node-priority', 'manual')))
                             or exists (select from bridge.row_version r where r.entity = g.entity and r.key = g.key offset 0) end
 order by g.n
