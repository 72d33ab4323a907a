-- Entities of which a peer settles conflicts in another way than this node: both sides would end unequal.
create table bridge.disagreement (
    source       text not null,
    entity       text not null,
    policy_there text not null,
    policy_here  text not null,
    since        timestamptz not null default now(),
    primary key (source, entity)
);
