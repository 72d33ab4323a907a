-- What the dead letters hold: rows, so for members of role pgbridge_operator. payload is a message of the letter's row alone; what
-- could not be read is shown byte by byte, in raw. original: of one that was edited, the bytes as they came.
create or replace view bridge.dead_letter_payloads as
select d.id, d.class, d.state, d.source, d.entity, d.key, d.op,
       case when d.class <> 'poison' and octet_length(d.payload) > 0 then convert_from(d.payload, 'UTF8')::jsonb end as payload,
       case when d.class = 'poison' then d.payload end as raw, d.original
  from bridge.dead_letter d;
