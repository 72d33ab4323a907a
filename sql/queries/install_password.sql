-- Hands the adapter's password $1 to the installation, for this transaction.
select set_config('bridge.password', $1, true) is not null
