-- Return a row if the event has happened. Uses the primary key.
SELECT 1 FROM callboard.rate_limits WHERE key = %(key)s AND expires_at > clock_timestamp()
