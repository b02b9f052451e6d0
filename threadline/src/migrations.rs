//! The audit schema's own migrations: as files for `threadline install`, and embedded for hosts that migrate in code.

use std::fmt;

use diesel::connection::BoxableConnection;
use diesel::migration::{
    Migration, MigrationMetadata, MigrationName, MigrationSource, MigrationVersion, Result,
};
use diesel::pg::Pg;

/// The version of the audit schema this library reads and writes; `threadline.schema_version()` answers the same.
pub(crate) const SCHEMA_VERSION: i32 = 2;

/// One migration of the audit schema, as SQL.
#[derive(Clone, Copy, Debug)]
pub struct CoreMigration {
    /// What it makes, in snake case.
    pub name: &'static str,
    /// The SQL that makes it.
    pub up: &'static str,
    /// The SQL that undoes it.
    pub down: &'static str,
}

/// The migrations of the audit schema, in the order they run.
pub const CORE_MIGRATIONS: &[CoreMigration] = &[
    CoreMigration {
        name: "storage",
        up: include_str!("../migrations/2026-11-21-000001_threadline_storage/up.sql"),
        down: include_str!("../migrations/2026-11-21-000001_threadline_storage/down.sql"),
    },
    CoreMigration {
        name: "capture",
        up: include_str!("../migrations/2026-11-21-000002_threadline_capture/up.sql"),
        down: include_str!("../migrations/2026-11-21-000002_threadline_capture/down.sql"),
    },
    CoreMigration {
        name: "attach",
        up: include_str!("../migrations/2026-11-21-000003_threadline_attach/up.sql"),
        down: include_str!("../migrations/2026-11-21-000003_threadline_attach/down.sql"),
    },
    CoreMigration {
        name: "reading",
        up: include_str!("../migrations/2026-11-21-000004_threadline_reading/up.sql"),
        down: include_str!("../migrations/2026-11-21-000004_threadline_reading/down.sql"),
    },
    CoreMigration {
        name: "intent",
        up: include_str!("../migrations/2026-11-21-000005_threadline_intent/up.sql"),
        down: include_str!("../migrations/2026-11-21-000005_threadline_intent/down.sql"),
    },
    CoreMigration {
        name: "travel",
        up: include_str!("../migrations/2026-11-21-000006_threadline_travel/up.sql"),
        down: include_str!("../migrations/2026-11-21-000006_threadline_travel/down.sql"),
    },
    CoreMigration {
        name: "undo",
        up: include_str!("../migrations/2026-11-21-000007_threadline_undo/up.sql"),
        down: include_str!("../migrations/2026-11-21-000007_threadline_undo/down.sql"),
    },
    CoreMigration {
        name: "feed",
        up: include_str!("../migrations/2026-11-21-000008_threadline_feed/up.sql"),
        down: include_str!("../migrations/2026-11-21-000008_threadline_feed/down.sql"),
    },
    CoreMigration {
        name: "retention",
        up: include_str!("../migrations/2026-11-21-000009_threadline_retention/up.sql"),
        down: include_str!("../migrations/2026-11-21-000009_threadline_retention/down.sql"),
    },
    CoreMigration {
        name: "health",
        up: include_str!("../migrations/2026-11-21-000010_threadline_health/up.sql"),
        down: include_str!("../migrations/2026-11-21-000010_threadline_health/down.sql"),
    },
    CoreMigration {
        name: "exports",
        up: include_str!("../migrations/2026-11-21-000011_threadline_exports/up.sql"),
        down: include_str!("../migrations/2026-11-21-000011_threadline_exports/down.sql"),
    },
    CoreMigration {
        name: "evidence",
        up: include_str!("../migrations/2026-11-21-000012_threadline_evidence/up.sql"),
        down: include_str!("../migrations/2026-11-21-000012_threadline_evidence/down.sql"),
    },
    CoreMigration {
        name: "baselines",
        up: include_str!("../migrations/2026-11-21-000013_threadline_baselines/up.sql"),
        down: include_str!("../migrations/2026-11-21-000013_threadline_baselines/down.sql"),
    },
    CoreMigration {
        name: "views",
        up: include_str!("../migrations/2026-11-21-000014_threadline_views/up.sql"),
        down: include_str!("../migrations/2026-11-21-000014_threadline_views/down.sql"),
    },
];

/// The audit schema as a Diesel migration source, for hosts that migrate in code:
/// `conn.run_pending_migrations(threadline::MIGRATIONS)?`, before the host's own migrations.
///
/// Its versions sort before any timestamp, so they never clash with the host's and `diesel migration revert` goes on
/// finding the host's newest one. Diesel keeps one list of applied versions for all sources, so `revert_all_migrations`
/// with a single source fails once another one has been run: use the files of `threadline install` where you revert.
pub const MIGRATIONS: CoreMigrations = CoreMigrations;

/// The type of [`MIGRATIONS`].
#[derive(Clone, Copy, Debug)]
pub struct CoreMigrations;

impl MigrationSource<Pg> for CoreMigrations {
    fn migrations(&self) -> Result<Vec<Box<dyn Migration<Pg>>>> {
        let embedded = CORE_MIGRATIONS.iter().enumerate().map(|(index, migration)| {
            let name = EmbeddedName {
                version: format!("00000000000000.threadline.{:04}", index + 1),
                name: migration.name,
            };
            Box::new(Embedded { name, migration }) as Box<dyn Migration<Pg>>
        });
        Ok(embedded.collect())
    }
}

struct Embedded {
    name: EmbeddedName,
    migration: &'static CoreMigration,
}

struct EmbeddedName {
    version: String,
    name: &'static str,
}

struct InTransaction;

impl MigrationMetadata for InTransaction {}

impl fmt::Display for EmbeddedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_threadline_{}", self.version, self.name)
    }
}

impl MigrationName for EmbeddedName {
    fn version(&self) -> MigrationVersion<'_> {
        MigrationVersion::from(&self.version)
    }
}

impl Migration<Pg> for Embedded {
    fn run(&self, conn: &mut dyn BoxableConnection<Pg>) -> Result<()> {
        Ok(conn.batch_execute(self.migration.up)?)
    }

    fn revert(&self, conn: &mut dyn BoxableConnection<Pg>) -> Result<()> {
        Ok(conn.batch_execute(self.migration.down)?)
    }

    fn metadata(&self) -> &dyn MigrationMetadata {
        &InTransaction
    }

    fn name(&self) -> &dyn MigrationName {
        &self.name
    }
}
