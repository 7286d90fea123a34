-- What is in force for a statement of ours: which process of Postgres runs it, in which isolation, and settings by name.
-- Returns one row.
SELECT
    pg_backend_pid(), current_setting('transaction_isolation'),
    (SELECT jsonb_object_agg(names.name, current_setting(names.name)) FROM unnest(%(names)s::text[]) AS names (name))
