-- The commit of this transaction waits until it is safe.
set local synchronous_commit = on
