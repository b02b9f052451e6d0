//! `threadline install`: the audit schema's migrations among the host's.

use threadline::CORE_MIGRATIONS;

use crate::host::{Host, audit_schema, unversioned};

/// A host that has heard nothing of the audit yet.
fn fresh_host() -> Host {
    let host = Host::new("");
    host.remove(&audit_schema());
    host.write("migrations/2099-12-31-235959_from_the_future/up.sql", "");
    host
}

fn core_names() -> Vec<String> {
    CORE_MIGRATIONS.iter().map(|core| format!("threadline_{}", core.name)).collect()
}

#[test]
fn all_migrations_are_copied_in_order_after_what_is_there() {
    let host = fresh_host();
    assert_eq!(host.run("install --check").code, Some(1));
    assert_eq!(host.done("install --dry-run").lines().count(), CORE_MIGRATIONS.len());
    assert_eq!(host.migrations().len(), 2, "nothing was written");

    assert!(host.done("install").ends_with("next: diesel migration run\n"));
    let migrations = host.migrations();
    let installed: Vec<&str> = migrations[2..].iter().map(|name| unversioned(name)).collect();
    assert_eq!(installed, core_names());
    assert!(migrations[2].starts_with("2100-01-01-000000_"), "{migrations:?}");
    for (directory, core) in migrations[2..].iter().zip(CORE_MIGRATIONS) {
        assert_eq!(host.read(&format!("migrations/{directory}/up.sql")), core.up);
        assert_eq!(host.read(&format!("migrations/{directory}/down.sql")), core.down);
    }
    assert!(host.done("install").starts_with("nothing to do: all "));
    host.done("install --check");
    assert_eq!(host.migrations(), migrations);
}

#[test]
fn an_upgrade_adds_only_what_is_new_after_everything_else() {
    let host = fresh_host();
    host.done("install");
    let before = host.migrations();
    // As after an upgrade that brought the last one, when the host has gone on in the meantime.
    host.remove(&host.newest());
    host.write("migrations/2101-01-01-000000_of_the_host/up.sql", "");
    host.done("install");
    let after = host.migrations();
    assert_eq!(after[..before.len() - 1], before[..before.len() - 1]);
    assert_eq!(after.len(), before.len() + 1);
    let last = format!("2101-01-01-000001_{}", core_names().pop().expect("there is an audit schema"));
    assert_eq!(after.last(), Some(&last));
}

#[test]
fn an_edited_migration_is_named_and_left_alone() {
    let host = fresh_host();
    host.done("install");
    let file = format!("{}/up.sql", host.newest());
    host.write(&file, "SELECT 1;");
    let run = host.run("install");
    assert_eq!(run.code, Some(0));
    assert!(
        run.stderr.starts_with(&format!("warning: {} is not what this version ships", host.newest())),
        "{}",
        run.stderr
    );
    assert_eq!(host.read(&file), "SELECT 1;");
    assert_eq!(host.run("install --check").code, Some(1));
}

#[test]
fn captures_generated_before_the_audit_schema_are_warned_of() {
    let host = fresh_host();
    host.write("migrations/2026-02-01-000000_threadline_capture_posts/up.sql", "");
    let stderr = host.run("install").stderr;
    assert!(stderr.contains("_threadline_capture_posts runs before the audit schema exists"), "{stderr}");
}
