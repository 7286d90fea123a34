-- Read a condition on messages, and try it on an empty one: it must say yes or no. Returns one row, or raises.
SELECT jsonb_path_match('{"args": [], "kwargs": {}, "options": {}}', %(where)s::jsonpath)
