-- Records a conflict with both rows, both versions and the ruling.
insert into bridge.conflict (entity, key, kind, policy, ruling, fields, local_row, local_ts, local_node, local_correlation,
                             remote_row, remote_ts, remote_node, remote_correlation)
values ($1, $2, $3, $4, $5, $6::text[], $7::text[], $8::bigint, $9, $10, $11::text[], $12::bigint, $13, $14)
