-- Writes something, so that a synchronous commit makes everything visible before it durable, too.
select pg_logical_emit_message(true, 'pgbridge', '')
