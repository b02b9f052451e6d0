-- Takes the queue of exports away; files in the storage stay where they are.
DROP FUNCTION threadline.expire_exports(timestamptz, integer);
DROP TABLE threadline.export_jobs;
