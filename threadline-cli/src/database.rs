//! The connection: where it goes, what is set on it, and what may be said when it fails.

use std::env;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use diesel::connection::CacheSize;
use diesel::prelude::*;
use threadline::{Scope, Trail};

use crate::output::warn;

/// Seconds to wait for a connection unless the URL or PGCONNECT_TIMEOUT says otherwise. libpq would wait for minutes.
const CONNECT_SECONDS: u32 = 10;

/// Where the trail is.
#[derive(Clone, clap::Args)]
#[command(next_help_heading = "Database")]
pub(crate) struct DatabaseArgs {
    /// The database, as `postgres://user@host/name`; a `.env` file is read for it too
    #[arg(long, value_name = "URL", env = "DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,

    /// Give up on a statement after this long, as `30s`
    #[arg(long, value_name = "DURATION", value_parser = statement_timeout)]
    statement_timeout: Option<Duration>,
}

/// Whose part of the trail is read.
#[derive(clap::Args)]
#[command(next_help_heading = "Database")]
pub(crate) struct TrailArgs {
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,

    /// Show only what this tenant owns, by the tables' scope columns; may be given several times
    #[arg(long, value_name = "VALUE")]
    tenant: Vec<String>,
}

fn statement_timeout(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    // PostgreSQL counts milliseconds in an int4, and takes 0 for none.
    match duration.as_millis() {
        1..=2_147_483_647 => Ok(duration),
        _ => Err("a timeout is from 1ms to 24days".to_owned()),
    }
}

/// Reads `.env` from here or above, as diesel does. What the environment has already stays.
pub(crate) fn load_env_file() {
    match dotenvy::dotenv() {
        Ok(_) => {}
        Err(error) if error.not_found() => {}
        // The message would quote the line, and with it a password perhaps.
        Err(_) => {
            warn("`.env` could not be read to its end; check its quotes and that each line is NAME=VALUE");
        }
    }
}

impl TrailArgs {
    /// The trail as this reader may see it.
    pub(crate) fn trail(&self) -> Trail {
        match self.scope() {
            None => Trail::unscoped(),
            Some(scope) => Trail::scoped(move |_| Ok(scope.clone())),
        }
    }

    /// What this reader may see; `None` for everything.
    pub(crate) fn scope(&self) -> Option<Scope> {
        (!self.tenant.is_empty()).then(|| Scope::tenants(self.tenant.clone()))
    }

    /// Connects, and says what may be read.
    pub(crate) fn open(&self) -> Result<(PgConnection, Trail)> {
        Ok((self.database.connect()?, self.trail()))
    }
}

impl DatabaseArgs {
    /// How long a statement may take, if that was said.
    pub(crate) fn statement_timeout(&self) -> Option<Duration> {
        self.statement_timeout
    }

    /// Connects.
    pub(crate) fn connect(&self) -> Result<PgConnection> {
        let Some(url) = self.database_url.as_deref().filter(|url| !url.trim().is_empty()) else {
            bail!("no database is named; give `--database-url`, or set DATABASE_URL, in `.env` perhaps");
        };
        let options = env::var("PGOPTIONS").unwrap_or_default();
        let url_with_settings = with_settings(url, self.statement_timeout, &options)?;
        let mut conn = PgConnection::establish(&url_with_settings).map_err(|error| {
            let ConnectionError::BadConnection(message) = error else {
                return anyhow!("cannot connect to {}: the URL is not one that libpq takes", place(url));
            };
            anyhow!("cannot connect to {}: {}", place(url), cause(&message, url))
        })?;
        // Behind a pooler a named statement may be another client's, and a command runs few statements twice.
        conn.set_prepared_statement_cache_size(CacheSize::Disabled);
        Ok(conn)
    }
}

/// The URL with what a session of this command has set. Startup parameters go along through a pooler, which then knows of
/// them, where a `SET` would stay behind for other clients.
fn with_settings(url: &str, timeout: Option<Duration>, environment_options: &str) -> Result<String> {
    let is_url = url.contains("://");
    let mut text = url.trim().to_owned();
    let mut add = |name: &str, value: &str| {
        if is_url {
            let separator = if text.contains('?') { '&' } else { '?' };
            text.push_str(&format!("{separator}{name}={}", percent_encoded(value)));
        } else {
            text.push_str(&format!(" {name}='{}'", value.replace('\\', "\\\\").replace('\'', "\\'")));
        }
    };
    add("application_name", "threadline");
    if !url.contains("connect_timeout") && env::var_os("PGCONNECT_TIMEOUT").is_none() {
        add("connect_timeout", &CONNECT_SECONDS.to_string());
    }
    let Some(timeout) = timeout else { return Ok(text) };
    let setting = format!("-c statement_timeout={}", timeout.as_millis());
    match (is_url, url.find("?options=").or_else(|| url.find("&options="))) {
        (true, Some(start)) => {
            let value = start + "?options=".len();
            let end = url[value..].find('&').map_or(url.len(), |length| value + length);
            text.insert_str(end, &format!("%20{}", percent_encoded(&setting)));
        }
        (false, _) if url.contains("options") => {
            bail!("`--statement-timeout` cannot be added to these `options`; write `{setting}` into them")
        }
        _ => add("options", format!("{environment_options} {setting}").trim()),
    }
    Ok(text)
}

fn percent_encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

/// Host, port and name of the database, and nothing else: a URL may hold a password, also where it does not belong.
fn place(url: &str) -> String {
    let Some((_, rest)) = url.split_once("://") else { return "the database".to_owned() };
    // A password with an `@` or a `/` that should have been encoded goes with what is before the last `@`.
    let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
    let rest = rest.split(['?', '#']).next().unwrap_or(rest);
    let (host, name) = rest.split_once('/').unwrap_or((rest, ""));
    let (address, port) = host.rsplit_once(':').filter(|_| !host.ends_with(']')).unwrap_or((host, ""));
    let is_name = |text: &str| {
        text.chars().all(|character| character.is_ascii_alphanumeric() || "-._".contains(character))
    };
    let is_address = is_name(address) || (address.starts_with('[') && address.ends_with(']'));
    // Anything else may be a piece of a password that broke the URL.
    if rest.trim_matches('/').is_empty()
        || !is_address
        || !is_name(name)
        || !port.chars().all(|c| c.is_ascii_digit())
    {
        return "the database".to_owned();
    }
    format!("`{}`", rest.trim_matches('/'))
}

/// What libpq says, as far as it cannot have quoted the URL: what comes after the address it tried.
fn cause(message: &str, url: &str) -> String {
    let said = message.lines().find_map(|line| line.split_once(" failed: ")).map(|(_, said)| said.trim());
    if let Some(said) = said {
        let said = said.trim_start_matches("FATAL:").trim();
        let secret = url.split_once("://").and_then(|(_, rest)| rest.rsplit_once('@')).map(|(user, _)| user);
        let secret = secret.and_then(|user| user.split_once(':')).map(|(_, password)| password);
        return match secret.filter(|secret| !secret.is_empty() && said.contains(*secret)) {
            Some(_) => "the server refused the connection".to_owned(),
            None => said.to_owned(),
        };
    }
    let known = [
        ("could not translate host name", "the host's name could not be resolved"),
        ("timeout expired", "no answer in time; check the address and the firewall"),
        (
            "invalid",
            "the URL is not one that libpq takes; encode special characters of the password as %40 and the like",
        ),
    ];
    let known = known.iter().find(|(part, _)| message.contains(part)).map(|(_, text)| *text);
    known
        .unwrap_or("check the URL, that PostgreSQL is running, and that it can be reached from here")
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_added_to_any_form_of_url() {
        let minute = Some(Duration::from_secs(60));
        let with = |url, timeout| with_settings(url, timeout, "").expect("can be added");
        assert_eq!(
            with("postgres://h/d", None),
            "postgres://h/d?application_name=threadline&connect_timeout=10"
        );
        assert_eq!(
            with("postgres://h/d?options=-c%20a%3Db&connect_timeout=1", minute),
            "postgres://h/d?options=-c%20a%3Db%20-c%20statement_timeout%3D60000&connect_timeout=1&application_name=threadline"
        );
        assert_eq!(
            with("host=h dbname=d", minute),
            "host=h dbname=d application_name='threadline' connect_timeout='10' options='-c statement_timeout=60000'"
        );
        assert!(with_settings("host=h options='-c a=b'", minute, "").is_err());
        let kept = with_settings("postgres://h/d", minute, "-c search_path=x").expect("can be added");
        assert!(kept.ends_with("options=-c%20search_path%3Dx%20-c%20statement_timeout%3D60000"), "{kept}");
    }

    #[test]
    fn nothing_before_the_host_is_ever_shown() {
        for (url, shown) in [
            ("postgres://user:secret@db.example:5432/app?sslmode=require", "`db.example:5432/app`"),
            ("postgres://user:se@cr/et@db/app", "`db/app`"),
            ("postgres:///app?host=/run&password=secret", "`app`"),
            ("host=db password=secret", "the database"),
            ("postgres://u@db:secret/app", "the database"),
            ("postgres://u@[::1]:5432/app", "`[::1]:5432/app`"),
            ("postgres://", "the database"),
        ] {
            assert_eq!(place(url), shown, "{url}");
        }
    }
}
