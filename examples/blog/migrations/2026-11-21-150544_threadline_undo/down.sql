-- Drops what undo plans are made with; nothing was stored.
DROP FUNCTION threadline.referring_rows(oid, jsonb[], text[]);
DROP FUNCTION threadline.column_texts(integer, text[], text[]);
DROP FUNCTION threadline.present_images(integer, jsonb[]);
DROP FUNCTION threadline.undo_shape(integer);
