-- Count the dead letters that a filter means (dead_matching). Returns one number.
SELECT count(*) FROM matching
