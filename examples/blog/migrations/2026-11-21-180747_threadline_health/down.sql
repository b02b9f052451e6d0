-- Takes what health writes away again; the trail itself stays.
DROP FUNCTION threadline.detach_gone(integer);
DROP FUNCTION threadline.acknowledge_gap(uuid, integer, jsonb, text);
DROP TABLE threadline.known_gaps;
