-- The message $1 has ended nothing.
delete from bridge.suspect where identity = $1
