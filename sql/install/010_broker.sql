-- The broker's and the database's failures: whether each direction may try them, what of the broker's messages is missing, and
-- which of its dead letters may have ended the process.
alter table bridge.worker
    add column database_circuit text not null default 'closed', -- closed, open (tried again later), half-open (one trial)
    add column broker_circuit   text not null default 'closed';
