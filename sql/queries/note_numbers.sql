-- Of sender $1's incarnation $2 the numbers $3 to $4 have come -> how many are missing before them, see bridge.note_numbers.
select bridge.note_numbers($1, $2, $3::bigint, $4::bigint)
