-- Lets go what was put aside of entities that are not paused any more: some of it after the resume, which the adapter learnt of later.
update bridge.dead_letter d
   set next_attempt = now()
  from bridge.entity e
 where d.entity = e.name and d.state = 'retrying' and d.error_code = 'PAUSED' and d.next_attempt is null
   and not exists (select from bridge.pause p where p.direction = 'in' and p.entity = e.name and p.resumed_at is null)
