-- The roles of pgbridge, made by hand: where `pgbridge install` must not run as superuser. Otherwise this file is not needed,
-- `pgbridge install --admin "user=postgres"` makes these roles itself.
--
-- As superuser, once per database (run again, it changes nothing):
--
--     psql -v adapter=pgbridge -v installer=shop_owner -d shop -f roles.sql
--     psql -d shop -c '\password pgbridge'
--
-- adapter     the role in the config's `database`; what the daemon connects as, always
-- installer   an existing role that owns the mirrored tables: pgbridge -c FILE install --admin "user=shop_owner"
--
-- The adapter gets no more than it needs. What belongs to single tables and to schema `bridge` is granted by the installation,
-- because only it knows them: SELECT, INSERT, UPDATE, DELETE on the mapped tables and USAGE on their schemas; on the bridge's
-- own tables what the file sql/functions/060_grant_adapter.sql lists. It owns nothing and may create nothing.
\set ON_ERROR_STOP on
\if :{?adapter} \else \set adapter pgbridge \endif
\if :{?installer} \else \echo 'psql -v installer=ROLE: who owns the mirrored tables?' \quit \endif

begin;

-- Owns schema `bridge` and everything in it. Nobody can log in as it.
select format('create role pgbridge_owner nologin')
 where not exists (select from pg_roles where rolname = 'pgbridge_owner') \gexec

-- May read the views that show no row values. For monitoring: grant pgbridge_monitor to grafana;
select format('create role pgbridge_monitor nologin')
 where not exists (select from pg_roles where rolname = 'pgbridge_monitor') \gexec

-- May also see the rows of dead letters, and replay, edit and discard them. For people: grant pgbridge_operator to ann;
select format('create role pgbridge_operator nologin')
 where not exists (select from pg_roles where rolname = 'pgbridge_operator') \gexec
grant pgbridge_monitor to pgbridge_operator;

-- The adapter. Its two directions and `pgbridge status` need five connections at most.
select format('create role %I login nosuperuser nocreatedb nocreaterole noreplication nobypassrls', :'adapter')
 where not exists (select from pg_roles where rolname = :'adapter') \gexec
select format('grant connect on database %I to %I', current_database(), :'adapter') \gexec

-- Sets session_replication_role = replica while it applies changes of peers: the capture triggers stay quiet, and the tables'
-- own triggers do not fire a second time.
grant set on parameter session_replication_role to :"adapter";

-- The installer makes the schema, puts triggers on the tables it owns, and passes these rights on.
select format('grant create on database %I to %I', current_database(), :'installer') \gexec
grant pgbridge_owner to :"installer";
grant pgbridge_monitor, pgbridge_operator to :"installer" with admin option;
grant set on parameter session_replication_role to :"installer" with grant option;

commit;
