-- bridge.grant_adapter(): gives the adapter's role what it needs and nothing more; the mapped tables are granted by
-- bridge.map_entity. The setting lets apply keep user triggers and capture quiet.
create or replace function bridge.grant_adapter() returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
declare
    adapter name := (select adapter_role from bridge.node);
begin
    execute format('grant usage on schema bridge to %I', adapter);
    execute format('grant pgbridge_monitor, pgbridge_operator to %I', adapter);
    execute format('grant select on bridge.version, bridge.fingerprint, bridge.node, bridge.peer, bridge.entity, bridge.layout, bridge.capture_switch to %I', adapter);
    execute format('grant select, delete, update (lsn) on bridge.outbox to %I', adapter);
    execute format('grant select, update on bridge.outbound to %I', adapter);
    execute format('grant select, insert, update on bridge.inbound, bridge.worker, bridge.row_version to %I', adapter);
    execute format('grant select, insert, update on bridge.dead_letter, bridge.conflict to %I', adapter);
    execute format('grant set on parameter session_replication_role to %I', adapter);
    execute format('grant update on bridge.peer to %I', adapter);
    execute format('grant select on bridge.collection, bridge.pause, bridge.gap to %I', adapter);
    revoke execute on function bridge.publish(), bridge.switch_capture(text), bridge.check_switch(text), bridge.note_lost_log(), bridge.leave_log(), bridge.floor_after_log() from public;
    execute format('grant execute on function bridge.note_lost_log(), bridge.leave_log() to %I', adapter);
    revoke execute on function bridge.pause(text, text, text, text, boolean), bridge.resume(text, text, text, boolean, text),
        bridge.discard_deletions(text) from public;
    grant execute on function bridge.pause(text, text, text, text, boolean), bridge.resume(text, text, text, boolean, text)
        to pgbridge_operator;
    grant select on bridge.pauses to pgbridge_monitor;
    revoke execute on function bridge.collect_tombstones(interval) from public;
    execute format('grant execute on function bridge.collect_tombstones(interval) to %I', adapter);
    revoke execute on function bridge.forget_dead_letters(interval) from public;
    revoke execute on function bridge.forget_conflicts(interval) from public;
    execute format('grant execute on function bridge.forget_dead_letters(interval), bridge.forget_conflicts(interval) to %I', adapter);
    execute format('grant select, insert, update, delete on bridge.suspect, bridge.disagreement to %I', adapter);
    grant select on bridge.peers, bridge.gaps to pgbridge_monitor;
    revoke execute on function bridge.note_numbers(text, text, bigint, bigint), bridge.note_confirmed(text, text[], bigint[]),
        bridge.acknowledge_gap(bigint, text) from public;
    execute format('grant execute on function bridge.note_numbers(text, text, bigint, bigint), bridge.note_confirmed(text, text[], bigint[]) to %I',
                   adapter);
    execute format('grant execute on function bridge.acknowledge_gap(bigint, text) to %I', adapter);
    grant usage on schema bridge to public;
    grant execute on function bridge.correlate(text, text), bridge.content_hash(text[], text[]) to public;
    revoke execute on function bridge.attach(text, boolean), bridge.detach(text), bridge.unmap_entity(text),
        bridge.map_entity(text, text, int, text[], text[], text, text, boolean, text, text[], text[], boolean, boolean),
        bridge.refresh_entity_state(), bridge.grant_adapter() from public;
    grant select on bridge.status, bridge.lag, bridge.entities, bridge.outbox_pending, bridge.health,
        bridge.dead_letters, bridge.version to pgbridge_monitor;
    revoke execute on function bridge.resolve_conflict(bigint, text), bridge.resolve_conflict(bigint, jsonb) from public;
    execute format('grant execute on function bridge.resolve_conflict(bigint, text), bridge.resolve_conflict(bigint, jsonb) to %I', adapter);
    revoke execute on function bridge.unique_blocker(smallint, text[], text[]) from public;
    execute format('grant execute on function bridge.unique_blocker(smallint, text[], text[]) to %I', adapter);
    revoke execute on function bridge.make_origins(), bridge.lock_to_note(), bridge.are_visible(xid[]), bridge.note_log(smallint[], text[], "char"[], bigint[], bigint[], pg_lsn[], xid[], bigint[]),
        bridge.note_change(smallint, text, "char", bigint, bigint, pg_lsn, xid, bigint),
        bridge.note_overtaken(bridge.row_version, "char", bigint, bigint, xid, bridge.known, jsonb, int, bigint),
        bridge.settle_deletion(smallint, text, bridge.known, boolean), bridge.insist(smallint, text, bigint),
        bridge.row_here(bridge.entity, text, boolean), bridge.has_child(bridge.entity, text), bridge.delete_quietly(bridge.entity, text) from public;
    execute format('grant execute on function bridge.lock_to_note(), bridge.are_visible(xid[]),
        bridge.note_log(smallint[], text[], "char"[], bigint[], bigint[], pg_lsn[], xid[], bigint[]),
        bridge.note_change(smallint, text, "char", bigint, bigint, pg_lsn, xid, bigint),
        bridge.note_overtaken(bridge.row_version, "char", bigint, bigint, xid, bridge.known, jsonb, int, bigint),
        bridge.settle_deletion(smallint, text, bridge.known, boolean), bridge.insist(smallint, text, bigint),
        bridge.row_here(bridge.entity, text, boolean), bridge.has_child(bridge.entity, text), bridge.delete_quietly(bridge.entity, text) to %I', adapter);
    revoke execute on function bridge.say_whole(smallint[], text[], "char"[], bigint[], xid[], bigint[], bigint[], text[], text[], text[], text[]) from public;
    execute format('grant execute on function bridge.say_whole(smallint[], text[], "char"[], bigint[], xid[], bigint[], bigint[], text[], text[], text[], text[]) to %I',
                   adapter);
    revoke execute on function bridge.put_aside(int[], text[], "char"[], text[], bigint[], text[], bigint[], text[], text[], text[], text[], pg_lsn[]) from public;
    execute format('grant execute on function bridge.put_aside(int[], text[], "char"[], text[], bigint[], text[], bigint[], text[], text[], text[], text[], pg_lsn[]) to %I',
                   adapter);
    revoke execute on function bridge.begin_resend(text, jsonb, text), bridge.resend(text, text[]) from public;
    execute format('grant execute on function bridge.begin_resend(text, jsonb, text), bridge.resend(text, text[]) to %I', adapter);
    grant select on bridge.audit_log to pgbridge_monitor;
    -- By hand, and each noted in bridge.audit.
    grant select on bridge.dead_letter_payloads to pgbridge_operator;
    revoke execute on function
        bridge.replay_dead_letters(bigint[], text, text, text, text, text, interval, interval, numeric, text),
        bridge.discard_dead_letters(text, bigint[], text, text, text, text, text, interval, interval),
        bridge.edit_dead_letter(bigint, jsonb, text), bridge.change_dead_letter(bridge.dead_letter, jsonb),
        bridge.read_dead_letter(bridge.dead_letter, jsonb) from public;
    grant execute on function
        bridge.replay_dead_letters(bigint[], text, text, text, text, text, interval, interval, numeric, text),
        bridge.discard_dead_letters(text, bigint[], text, text, text, text, text, interval, interval),
        bridge.edit_dead_letter(bigint, jsonb, text) to pgbridge_operator;
    -- Conflicts show whole rows: for the adapter's role and the owner.
    execute format('grant select on bridge.conflicts to %I', adapter);
end
$$;
