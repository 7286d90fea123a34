-- Return the result of a key unless it has expired. Uses the primary key.
SELECT value FROM callboard.results WHERE key = %(key)s AND expires_at > now()
