-- Says rows of entity $1 with keys $2 once more -> the keys of those that others hold: see bridge.resend.
select r from bridge.resend($1, $2::text[]) r
