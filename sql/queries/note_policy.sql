-- Node $1 settles conflicts of entity $2 by $3, this one by $4 -> whether any node settles them in another way than this one.
with agreed as (
    delete from bridge.disagreement where source = $1 and entity = $2 and $3 = $4),
noted as (
    insert into bridge.disagreement as d (source, entity, policy_there, policy_here)
    select $1, $2, $3, $4 where $3 <> $4
        on conflict (source, entity) do update
       set policy_there = excluded.policy_there, policy_here = excluded.policy_here, since = now()
     where (d.policy_there, d.policy_here) is distinct from (excluded.policy_there, excluded.policy_here))
select $3 <> $4 or exists (select from bridge.disagreement where entity = $2 and source <> $1)
