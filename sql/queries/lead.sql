-- Becomes the one reader of this node's outbox, as long as the session lives.
select pg_try_advisory_lock(hashtext('pgbridge'), hashtext('outbound'))
