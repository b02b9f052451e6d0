//! `Cluster`.

use threadline_devdb::{Cluster, Error};

use crate::running::{stdout_of, traces_of};
use crate::texts;

#[test]
fn cluster_answers_without_tcp_and_without_syncing() -> Result<(), Error> {
    let cluster = Cluster::start()?;
    let mut conn = cluster.connect("postgres")?;
    let settings = "SELECT name || '=' || setting AS value FROM pg_settings WHERE name IN
        ('fsync', 'listen_addresses', 'max_locks_per_transaction', 'log_min_messages', 'wal_level', 'TimeZone')
        ORDER BY name COLLATE \"C\"";
    assert_eq!(
        texts(settings, &mut conn),
        [
            "TimeZone=UTC",
            "fsync=off",
            "listen_addresses=",
            "log_min_messages=warning",
            "max_locks_per_transaction=256",
            "wal_level=minimal",
        ]
    );
    Ok(())
}

#[test]
fn two_clusters_in_one_process_are_two_servers() -> Result<(), Error> {
    let (one, other) = (Cluster::start()?, Cluster::start()?);
    one.create_database("only_here")?;
    assert!(one.connect("only_here").is_ok());
    assert!(matches!(other.connect("only_here"), Err(Error::Connect { .. })));
    Ok(())
}

#[test]
fn nothing_is_left_after_drop() -> Result<(), Error> {
    let cluster = Cluster::start()?;
    let dir = cluster.socket_dir().to_owned();
    let name = dir.file_name().expect("it has a name").to_owned();
    let traces = || traces_of(std::process::id()).into_iter().filter(|path| path.ends_with(&name)).count();
    assert_eq!(traces(), 1);
    // A session that does not go by itself.
    let _conn = cluster.connect("postgres")?;
    drop(cluster);
    assert_eq!(traces(), 0);
    Ok(())
}

#[test]
fn created_database_may_be_there_already() -> Result<(), Error> {
    let cluster = Cluster::start()?;
    cluster.create_database("app \"quoted\"")?;
    cluster.create_database("app \"quoted\"")?;
    assert_eq!(
        texts("SELECT current_database()::text AS value", &mut cluster.connect("app \"quoted\"")?),
        ["app \"quoted\""]
    );
    Ok(())
}

#[test]
fn settings_of_the_caller_win() -> Result<(), Error> {
    let cluster = Cluster::start_with(&[("fsync", "on"), ("work_mem", "7MB")])?;
    let mut conn = cluster.connect("postgres")?;
    let sql = "SELECT current_setting('fsync') || ' ' || current_setting('work_mem') AS value";
    assert_eq!(texts(sql, &mut conn), ["on 7MB"]);
    Ok(())
}

#[test]
fn a_refused_start_says_what_the_server_said() {
    let error = Cluster::start_with(&[("no_such_setting", "1")]).expect_err("there is no such setting");
    assert!(matches!(&error, Error::Start { output } if output.contains("no_such_setting")), "{error}");
}

#[test]
fn url_takes_appended_options_in_psql_and_diesel() -> Result<(), Error> {
    use diesel::prelude::*;

    let cluster = Cluster::start()?;
    let url = cluster.url("postgres") + "&options=-c%20search_path%3Delsewhere";
    let sql = "SELECT current_setting('search_path') AS value";
    let mut conn = PgConnection::establish(&url).expect("the server is there");
    assert_eq!(texts(sql, &mut conn), ["elsewhere"]);
    assert_eq!(stdout_of(cluster.command("psql", "ignored").args(["-AXtc", sql, &url])), "elsewhere");
    Ok(())
}
