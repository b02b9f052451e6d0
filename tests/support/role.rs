//! A database role of one test's own.

use diesel::PgConnection;
use diesel::connection::SimpleConnection;
use threadline_devdb::TestDatabase;

/// A role that may log in, dropped with what it owns. Declare it after its database.
pub struct TestRole<'a> {
    db: &'a TestDatabase,
    name: String,
}

impl<'a> TestRole<'a> {
    /// Roles belong to the whole server, so its name contains the database's.
    pub fn new(db: &'a TestDatabase, label: &str) -> Self {
        let name = format!("{}_{label}", db.name());
        db.connect()
            .batch_execute(&format!(
                "CREATE ROLE {name} LOGIN; CREATE SCHEMA {name} AUTHORIZATION {name}; GRANT USAGE ON SCHEMA public TO {name}"
            ))
            .expect("a role can be created");
        Self { db, name }
    }

    /// Its name, a plain identifier; it owns a schema of the same name, which comes first on its search path.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A new connection of this role's.
    pub fn connect(&self) -> PgConnection {
        self.db.connect_as(&self.name)
    }
}

impl Drop for TestRole<'_> {
    fn drop(&mut self) {
        let name = &self.name;
        let dropped =
            self.db.connect().batch_execute(&format!("DROP OWNED BY {name} CASCADE; DROP ROLE {name}"));
        if !std::thread::panicking() {
            dropped.expect("a role can be dropped");
        }
    }
}
