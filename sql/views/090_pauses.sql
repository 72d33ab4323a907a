-- What is and was paused, and how to go on. held: changes of the entity that wait for it.
create or replace view bridge.pauses as
select p.id, p.direction, p.entity, p.reason, p.itself, p.paused_at, p.paused_by, p.resumed_at, p.resumed_by,
       case when p.resumed_at is null and p.direction = 'in' and p.entity is not null
            then (select count(*) from bridge.dead_letter d
                   where d.state = 'retrying' and d.error_code = 'PAUSED' and d.entity = p.entity) end as held,
       p.released, p.discarded,
       case when p.resumed_at is null
            then 'pgbridge resume' || coalesce(' --entity ' || p.entity, '') || ' --direction ' || p.direction end as resume_with
  from bridge.pause p
 order by p.id;
