-- Find every sequence of ours with the column that it feeds: identities and defaults by the catalogue, and the leases,
-- whose sequence lies in another schema than their column. is_unique: a value that comes twice is refused.
-- Returns sequence, table, column, is_unique and the last value that was given; NULL where the role may not read it.
WITH fed AS (
    SELECT depends.objid AS sequence_id, depends.refobjid AS table_id, depends.refobjsubid AS column_number
    FROM pg_depend AS depends
    WHERE depends.classid = 'pg_class'::regclass AND depends.refclassid = 'pg_class'::regclass
        AND depends.deptype IN ('a', 'i') AND depends.refobjsubid > 0
    UNION
    SELECT 'callboard.lease_id_seq'::regclass, attrelid, attnum
    FROM pg_attribute
    WHERE attrelid = 'dramatiq.queue'::regclass AND attname = 'lease_id'
)
SELECT
    format('%I.%I', schemaname, sequencename), format('%I.%I', table_space.nspname, fed_table.relname),
    quote_ident(attname),
    EXISTS (
        SELECT 1 FROM pg_index
        WHERE indrelid = fed.table_id AND indisunique AND indkey::text = fed.column_number::text),
    pg_sequences.last_value
FROM fed
JOIN pg_class AS sequence ON sequence.oid = fed.sequence_id AND sequence.relkind = 'S'
JOIN pg_namespace AS space ON space.oid = sequence.relnamespace AND space.nspname IN ('callboard', 'dramatiq')
JOIN pg_class AS fed_table ON fed_table.oid = fed.table_id
JOIN pg_namespace AS table_space ON table_space.oid = fed_table.relnamespace
JOIN pg_attribute ON attrelid = fed.table_id AND attnum = fed.column_number
JOIN pg_sequences ON schemaname = space.nspname AND sequencename = sequence.relname
ORDER BY 1
