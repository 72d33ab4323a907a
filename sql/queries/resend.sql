-- Says rows of entity $1 with keys $2 once more -> their keys, and whether they were left because others hold them: see bridge.resend.
select r.key, r.held from bridge.resend($1, $2::text[]) r
