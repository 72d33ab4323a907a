-- What is paused in direction $1: the entity (null: all of it), and whether more than $2 of its changes are held.
select p.entity,
       $1 = 'in' and p.entity is not null and
           (select count(*) from (select from bridge.dead_letter d
                                   where d.state = 'retrying' and d.error_code = 'PAUSED' and d.entity = p.entity
                                   limit $2::bigint + 1) held) > $2::bigint
  from bridge.pause p
 where p.direction = $1 and p.resumed_at is null
