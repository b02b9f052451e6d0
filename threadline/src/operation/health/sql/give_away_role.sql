DO $$ BEGIN
    IF to_regrole('threadline_owner') IS NULL THEN
        CREATE ROLE threadline_owner NOLOGIN;
    END IF;
END $$;
