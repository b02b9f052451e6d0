-- Unique indexes that can serve as a key, as threadline.candidate_keys has it, for all of the host's tables at once.
SELECT i.indrelid::bigint AS relation, i.indisprimary AS is_primary, k.columns
FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace CROSS JOIN LATERAL (
    SELECT array_agg(a.attname::text ORDER BY u.place) AS columns, bool_and(a.attnotnull) AS is_not_null
    FROM unnest(i.indkey::smallint[]) WITH ORDINALITY u (attnum, place) JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = u.attnum
    WHERE u.place <= i.indnkeyatts
) k
WHERE i.indisunique AND i.indexprs IS NULL AND i.indpred IS NULL AND i.indisvalid AND i.indisready AND (i.indimmediate OR i.indisprimary) AND k.is_not_null
    AND n.nspname NOT IN ('information_schema', 'threadline') AND NOT starts_with(n.nspname::text, 'pg_')
ORDER BY i.indrelid, NOT i.indisprimary, k.columns
