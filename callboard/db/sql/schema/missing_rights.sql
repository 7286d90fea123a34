-- Find what the role lacks that an upgrade of the schema needs: CREATE on the database for a schema that is not there,
-- USAGE and CREATE on one that is, ownership of what is in it, and the language of the triggers.
-- Returns what is lacked, as a noun, and the statement that gives it, the widest first.
WITH own_schema AS (
    SELECT wanted.name, pg_namespace.oid
    FROM (VALUES ('callboard'), ('dramatiq')) AS wanted (name)
    LEFT JOIN pg_namespace ON nspname = wanted.name
), thing AS (
    SELECT
        CASE relkind WHEN 'v' THEN 'view' WHEN 'S' THEN 'sequence' ELSE 'table' END AS kind,
        relowner AS owner, format('%I.%I', own_schema.name, relname) AS name
    FROM own_schema JOIN pg_class ON relnamespace = own_schema.oid AND relkind IN ('r', 'p', 'v', 'S', 'f', 'm')
    UNION ALL
    SELECT 'type', typowner, format('%I.%I', own_schema.name, typname)
    FROM own_schema JOIN pg_type ON typnamespace = own_schema.oid AND typtype = 'e'
    UNION ALL
    SELECT 'function', proowner, pg_proc.oid::regprocedure::text
    FROM own_schema JOIN pg_proc ON pronamespace = own_schema.oid
), missing AS (
    SELECT
        1 AS place, format('CREATE on database %I', current_database()) AS what,
        format('GRANT CREATE ON DATABASE %I TO %I', current_database(), current_user) AS remedy
    WHERE EXISTS (SELECT 1 FROM own_schema WHERE oid IS NULL)
        AND NOT has_database_privilege(current_database(), 'CREATE')
    UNION ALL
    SELECT
        2, format('%s on schema %I', privilege, name),
        format('GRANT %s ON SCHEMA %I TO %I', privilege, name, current_user)
    FROM own_schema CROSS JOIN (VALUES ('USAGE'), ('CREATE')) AS needed (privilege)
    WHERE oid IS NOT NULL AND NOT has_schema_privilege(oid, privilege)
    UNION ALL
    SELECT
        3, format('ownership of %s %s, which is of role %I', kind, name, pg_get_userbyid(owner)),
        format('ALTER %s %s OWNER TO %I', upper(kind), name, current_user)
    FROM thing
    WHERE NOT pg_has_role(owner, 'USAGE')
    UNION ALL
    SELECT 4, 'USAGE on language plpgsql', format('GRANT USAGE ON LANGUAGE plpgsql TO %I', current_user)
    WHERE NOT has_language_privilege('plpgsql', 'USAGE')
    UNION ALL
    -- An owner may have lost rights on his own tables.
    SELECT
        5, format('%s on table %s', privilege, name), format('GRANT %s ON %s TO %I', privilege, name, current_user)
    FROM thing CROSS JOIN (VALUES ('SELECT'), ('INSERT'), ('UPDATE'), ('DELETE')) AS needed (privilege)
    WHERE kind = 'table' AND pg_has_role(owner, 'USAGE') AND NOT has_table_privilege(name, privilege)
)
SELECT what, remedy FROM missing ORDER BY place, what
