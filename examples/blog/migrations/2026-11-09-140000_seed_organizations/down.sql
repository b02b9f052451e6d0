DELETE FROM posts;
DELETE FROM users;
DELETE FROM organizations;
