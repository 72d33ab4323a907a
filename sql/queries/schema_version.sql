-- At which version schema bridge is: the last file of sql/install that was run.
select coalesce(max(number), 0) from bridge.version
