-- Find which of the privileges given the role lacks; columns is a list, or empty where the whole object is meant. Where a
-- schema may not be used, everything in it is missing. Objects that there are not are left out: the schema is older.
-- Returns privilege, object and columns.
SELECT wanted.privilege, wanted.name, wanted.columns
FROM unnest(%(privileges)s::text[], %(names)s::text[], %(columns)s::text[]) WITH ORDINALITY
    AS wanted (privilege, name, columns, number)
JOIN pg_namespace ON pg_namespace.nspname = split_part(wanted.name, '.', 1)
JOIN pg_class ON pg_class.relnamespace = pg_namespace.oid AND pg_class.relname = split_part(wanted.name, '.', 2)
WHERE NOT has_schema_privilege(pg_namespace.oid, 'USAGE') OR NOT CASE
    WHEN pg_class.relkind = 'S' THEN has_sequence_privilege(pg_class.oid, wanted.privilege)
    WHEN wanted.columns = '' THEN has_table_privilege(pg_class.oid, wanted.privilege)
    ELSE (
        SELECT bool_and(has_column_privilege(pg_class.oid, listed.name, wanted.privilege))
        FROM unnest(string_to_array(wanted.columns, ', ')) AS listed (name))
    END
ORDER BY wanted.number
