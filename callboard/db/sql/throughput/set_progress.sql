-- Note until when all minutes are rolled up. Returns nothing.
UPDATE callboard.throughput_progress SET rolled_until = greatest(rolled_until, %(until)s)
