-- How rows are captured as installed, and since when a commit is a version, as long as the log tells, or has not told everything yet.
select n.capture, n.versions_since from bridge.node n
