-- Whether changes of entity $1 that arrive are held.
select exists (select from bridge.pause p where p.direction = 'in' and p.entity = $1 and p.resumed_at is null)
