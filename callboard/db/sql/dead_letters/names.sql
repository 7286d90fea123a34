-- List the names that a filter may have: queues and actors that workers registered or that letters have, and the causes.
-- Reads callboard.actors and the letters' indexes. Returns kind and name.
SELECT 'queue', queue_name FROM callboard.actors
UNION SELECT 'queue', queue_name FROM callboard.dead_letters
UNION SELECT 'actor', actor_name FROM callboard.actors
UNION SELECT 'actor', actor_name FROM callboard.dead_letters WHERE actor_name IS NOT NULL
UNION SELECT 'group', fingerprint FROM callboard.dead_letters WHERE fingerprint IS NOT NULL
