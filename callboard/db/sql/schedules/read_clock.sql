-- Return the database's clock, by which all slots count.
SELECT now()
