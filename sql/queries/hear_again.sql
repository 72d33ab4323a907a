-- Notes that node $1 lives, which holds changes back and can say no more. -> how far its clock is ahead, as far as it is known.
update bridge.peer
   set alive_us = (date_part('epoch', clock_timestamp()) * 1000000)::bigint
 where name = $1
returning coalesce(offset_us, 0)
