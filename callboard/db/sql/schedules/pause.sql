-- Pause schedules, or resume them; a slot that is being sent at this moment is waited for. Returns the names that changed.
UPDATE callboard.schedules SET is_paused = %(is_paused)s, changed_at = now()
WHERE schedule_name = ANY (%(names)s::text[]) AND is_paused <> %(is_paused)s
RETURNING schedule_name
