-- Two organizations, each with one user to begin with; they were here before anything was audited.
INSERT INTO organizations (name) VALUES ('Harbour Weekly'), ('Summit Review');

INSERT INTO users (organization_id, name, email, password_hash)
SELECT id, 'ann', 'ann@harbour.example', '!' FROM organizations WHERE name = 'Harbour Weekly'
UNION ALL
SELECT id, 'sam', 'sam@summit.example', '!' FROM organizations WHERE name = 'Summit Review';

INSERT INTO memberships (organization_id, user_id, role) SELECT organization_id, id, 'owner' FROM users;
