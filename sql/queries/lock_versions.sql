select bridge.lock_versions($1, $2, $3), pg_backend_pid()
