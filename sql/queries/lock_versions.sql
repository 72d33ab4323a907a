select bridge.lock_versions()
