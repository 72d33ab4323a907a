-- Hands the adapter's role $1 to the script that uninstalls.
select set_config('bridge.role', $1, true)
