-- What undoing needs to know of the tables with these ids ($1): how to read them, and what they are today.
SELECT jsonb_build_object('id', t.id, 'schema_name', t.schema_name, 'table_name', t.table_name, 'attached', t.attached,
    'present', threadline.table_reading(t.id, false) -> 'present',
    'layouts', (SELECT jsonb_object_agg(l.layout, s) FROM threadline.table_layouts l, threadline.since_layout(l.table_id, l.layout) s
        WHERE l.table_id = t.id),
    'attributes', threadline.since_attributes(t.id), 'shape', threadline.undo_shape(t.id))::text AS entry
FROM threadline.audited_tables t WHERE t.id = ANY ($1)
