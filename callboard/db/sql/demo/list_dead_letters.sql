-- List the recipients and reasons of the dead letters.
SELECT coalesce(message #>> '{kwargs,to}', actor_name), reason FROM callboard.dead_letters ORDER BY 1
