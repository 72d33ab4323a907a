-- Conflicts that are resolved, by when they were.
create index conflict_resolved on bridge.conflict (resolved_at) where resolved_at is not null;
