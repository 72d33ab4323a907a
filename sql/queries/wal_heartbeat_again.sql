-- The latest heartbeat once more, while changes are held back: that this node lives, and no more.
select json_build_object('time', said_us, 'heard', '[]'::json, 'again', true)::text from bridge.outbound where said_us > 0
