-- Read a condition on arguments, and try it on none: it must say yes or no. Returns one row, or raises.
SELECT jsonb_path_match('{}', %(where)s::jsonpath, '{"args": []}')
