//! The example in this repository holds what the command would write today.

use std::process::Command;

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/blog");

/// Runs `threadline` in the example; its standard output.
fn passes(arguments: [&str; 2]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_threadline"))
        .args(arguments)
        .current_dir(EXAMPLE)
        .env_remove("MIGRATION_DIRECTORY")
        .env_remove("DIESEL_CONFIG_FILE")
        .output()
        .expect("the binary was built for this test");
    let stdout = String::from_utf8(output.stdout).expect("the command writes UTF-8");
    assert!(output.status.success(), "{stdout}{}", String::from_utf8_lossy(&output.stderr));
    stdout
}

#[test]
fn its_capture_migrations_are_up_to_date() {
    let stdout = passes(["generate", "--check"]);
    assert_eq!(stdout, "nothing to do: 7 audited models, all migrations up to date\n");
}

/// After an edit in `migrations/`, while that is still allowed, copy the files over the example's.
#[test]
fn its_audit_schema_is_the_one_that_ships() {
    passes(["install", "--check"]);
}
