-- It is told how the session that begins a transaction took rows to be captured.
drop function if exists bridge.lock_versions();
