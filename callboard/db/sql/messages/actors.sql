-- List the names of the actors that workers have registered.
SELECT actor_name FROM callboard.actors ORDER BY actor_name
