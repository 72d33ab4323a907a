select bridge.lock_versions($1, $2, $3)
