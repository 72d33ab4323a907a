-- The health checks, the worst first.
select "check", status, value || ' ' || unit, hint
  from bridge.health
 order by array_position(array['critical', 'warning', 'healthy'], status), "check"
