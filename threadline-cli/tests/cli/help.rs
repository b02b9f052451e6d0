//! What the command says of itself.

use insta::assert_snapshot;

use crate::host::Host;

#[test]
fn help_says_what_each_command_does() {
    let host = Host::new("");
    // clap indents empty lines too.
    let help = |line| host.done(line).lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
    assert_snapshot!(help("--help"), @r"
    Audit for Diesel and PostgreSQL: writes the migrations that put it into your database.

    Exit code 0: done; 1: the check found something; 2: could not run.

    Usage: threadline <COMMAND>

    Commands:
      install   Copy the audit schema's migrations into your migrations directory
      generate  Write one migration for the audited models that changed since the last one
      help      Print this message or the help of the given subcommand(s)

    Options:
      -h, --help
              Print help (see a summary with '-h')

      -V, --version
              Print version
    ");
    assert_snapshot!(help("install --help"), @r"
    Copy the audit schema's migrations into your migrations directory.

    They are sorted after what is there. Those installed already are left alone, so after an upgrade of
    threadline the same command adds what is new.

    Usage: threadline install [OPTIONS]

    Options:
          --migrations-dir <DIR>
              Where your migrations are, if not where diesel.toml says

              [env: MIGRATION_DIRECTORY]

          --dry-run
              Print what would be written

          --check
              Write nothing; exit with 1 when a migration is missing or was edited

      -h, --help
              Print help (see a summary with '-h')
    ");
    assert_snapshot!(help("generate --help"), @r"
    Write one migration for the audited models that changed since the last one.

    Reads every struct that derives `Audited`, and every `table!`, from the sources of the package and
    of the workspace members it depends on, or of all members when called at the root of the workspace.
    Nothing is compiled. A second run writes nothing.

    Usage: threadline generate [OPTIONS]

    Options:
          --manifest-path <PATH>
              The Cargo.toml of the package or workspace, if not the nearest

          --source <DIR>
              Read this directory instead of asking cargo; may be given several times

          --migrations-dir <DIR>
              Where your migrations are, if not where diesel.toml says

              [env: MIGRATION_DIRECTORY]

          --check
              Write nothing; exit with 1 and name the models when the migrations are behind

          --dry-run
              Print the SQL instead of writing it

      -h, --help
              Print help (see a summary with '-h')
    ");
}

#[test]
fn what_is_misspelt_is_not_ignored() {
    let host = Host::new("");
    for line in [
        "generate --chek",
        "generate posts",
        "install --check --dry-run",
        "generate --check --dry-run",
        "gen",
    ] {
        assert_eq!(host.run(line).code, Some(2), "{line}");
    }
    assert_eq!(host.migrations().len(), 2, "nothing was written");
}
