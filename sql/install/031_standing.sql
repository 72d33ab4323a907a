-- It is told behind which session a transaction stands.
drop function if exists bridge.lock_versions(text, bigint);
