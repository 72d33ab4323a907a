-- What is paused now, for people.
select direction, coalesce(entity, '(all)'), to_char(paused_at, 'YYYY-MM-DD HH24:MI:SS'), paused_by, coalesce(held::text, ''),
       coalesce(reason, ''), resume_with
  from bridge.pauses
 where resumed_at is null
 order by id
