-- Until this session ends no other one installs here: one that was given up may still be making the slot.
select pg_advisory_lock(hashtext('pgbridge'), hashtext('install'))
