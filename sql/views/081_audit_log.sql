-- What people did by hand: who, when, what, to how many, and why.
create or replace view bridge.audit_log as
select id, at, who, action, details, affected, reason
  from bridge.audit
 order by id;
