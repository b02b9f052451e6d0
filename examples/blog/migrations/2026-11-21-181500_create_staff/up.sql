-- Who of our own people may look into the audit trail, and how far.
CREATE TABLE staff (
    user_id bigint PRIMARY KEY REFERENCES users ON DELETE CASCADE,
    role text NOT NULL CHECK (role IN ('admin', 'support')),
    organization_id bigint REFERENCES organizations,
    CHECK ((role = 'support') = (organization_id IS NOT NULL))
);
COMMENT ON COLUMN staff.organization_id IS 'The one organization that is supported; NULL for an admin, who sees them all.';
