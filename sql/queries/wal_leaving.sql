-- Before the slot is given up: nobody installs capture from the log until this session has done so, or ends. False: somebody has.
select pg_advisory_lock(hashtext('pgbridge'), hashtext('versions')) is not null and (select n.capture = 'outbox' from bridge.node n)
