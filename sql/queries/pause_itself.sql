-- The bridge pauses direction $1 of entity $2 (null: of all) for reason $3, for its own protection.
select id from bridge.pause($1, $2, $3, itself => true)
