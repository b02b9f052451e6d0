-- Triggers that call our functions, whatever they are named. `is_plain`: it fires for every row, whichever columns are
-- written, and at once.
SELECT t.tgrelid::bigint AS relation, t.tgname::text AS name, f.proname::text AS function, t.tgenabled::text AS enabled, t.tgtype::integer AS kind,
    t.tgparentid <> 0 AS is_clone,
    t.tgqual IS NULL AND t.tgattr::text = '' AND NOT t.tgdeferrable AND t.tgoldtable IS NULL AND t.tgnewtable IS NULL AND t.tgnargs < 2 AS is_plain,
    CASE WHEN t.tgnargs = 1 THEN encode(substr(t.tgargs, 1, octet_length(t.tgargs) - 1), 'escape') END AS argument
FROM pg_trigger t JOIN pg_proc f ON f.oid = t.tgfoid
WHERE f.pronamespace = 'threadline'::regnamespace AND (f.proname ~ '^capture_[0-9]+$' OR f.proname = 'capture_truncate')
ORDER BY t.tgrelid, t.tgname::text COLLATE "C"
