-- The policies in force, and the digests that tell whether what was compiled from them is still there. That of a function
-- is threadline.function_digest, which a thousand calls would make slow.
SELECT a.id, a.schema_name, a.table_name, a.key_columns, a.declared_key, a.exclude, a.mask, a.mask_placeholder, a.ignore, a.scope_column,
    a.on_truncate, a.actor_policy, a.attached, a.changed_at, l.relation_oid::bigint AS layout_relation, l.digest AS layout_digest,
    (SELECT array_agg(c.attnum ORDER BY c.attnum) FROM jsonb_to_recordset(l.columns) c (attnum integer)) AS layout_numbers,
    a.function_digest AS recorded_digest, md5(f.prosrc || f.prosecdef || coalesce(f.proconfig::text, '')) AS function_digest,
    f.proowner = n.nspowner AS is_ours
FROM threadline.audited_tables a LEFT JOIN threadline.table_layouts l ON l.table_id = a.id AND l.layout = a.layout
    JOIN pg_namespace n ON n.nspname = 'threadline'
    LEFT JOIN pg_proc f ON f.pronamespace = n.oid AND f.proname = 'capture_' || a.id
ORDER BY a.id
