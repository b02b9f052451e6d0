//! The address of a server and one of its databases, as a URL and as libpq's environment variables.

use std::fmt::{self, Write};

/// A `postgres://` URL in parts, all still percent-encoded as they came.
///
/// It is taken apart here rather than by a URL crate because libpq's are not quite URLs: several hosts are allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServerUrl {
    user: Option<String>,
    password: Option<String>,
    /// `host`, `host:port`, `[::1]:port`, several of them with commas, or nothing.
    hosts: String,
    database: String,
    /// In the order given, `dbname` excepted.
    params: Vec<(String, String)>,
}

/// libpq's environment variables, by the parameter each is the default of:
/// <https://www.postgresql.org/docs/current/libpq-envars.html>.
const VARIABLES: &[(&str, &str)] = &[
    ("host", "PGHOST"),
    ("hostaddr", "PGHOSTADDR"),
    ("port", "PGPORT"),
    ("user", "PGUSER"),
    ("password", "PGPASSWORD"),
    ("passfile", "PGPASSFILE"),
    ("options", "PGOPTIONS"),
    ("application_name", "PGAPPNAME"),
    ("connect_timeout", "PGCONNECT_TIMEOUT"),
    ("client_encoding", "PGCLIENTENCODING"),
    ("channel_binding", "PGCHANNELBINDING"),
    ("gssencmode", "PGGSSENCMODE"),
    ("sslmode", "PGSSLMODE"),
    ("sslcert", "PGSSLCERT"),
    ("sslkey", "PGSSLKEY"),
    ("sslrootcert", "PGSSLROOTCERT"),
    ("sslcrl", "PGSSLCRL"),
    ("target_session_attrs", "PGTARGETSESSIONATTRS"),
];

impl ServerUrl {
    /// The superuser's address of database `postgres` behind a socket.
    ///
    /// The port is named because libpq would else take it from an inherited `PGPORT`.
    pub(crate) fn socket(dir: &str) -> Self {
        let params = [("host", encode(dir)), ("port", "5432".to_owned()), ("user", "postgres".to_owned())];
        Self {
            user: None,
            password: None,
            hosts: String::new(),
            database: "postgres".to_owned(),
            params: params.map(|(name, value)| (name.to_owned(), value)).to_vec(),
        }
    }

    /// `None` when `text` does not begin with `postgres://` or `postgresql://`, or a parameter has no `=`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://"))?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (userinfo, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
        let mut database = path.to_owned();
        let mut params = Vec::new();
        for param in query.split('&').filter(|param| !param.is_empty()) {
            let (name, value) = param.split_once('=')?;
            if name == "dbname" {
                value.clone_into(&mut database);
            } else {
                params.push((name.to_owned(), value.to_owned()));
            }
        }
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Some(Self { user: given(user), password: given(password), hosts: hosts.to_owned(), database, params })
    }

    /// The database's name, decoded; empty when the URL names none.
    pub(crate) fn database(&self) -> String {
        decode(&self.database)
    }

    /// The same server, another database.
    pub(crate) fn with_database(&self, name: &str) -> Self {
        Self { database: encode(name), ..self.clone() }
    }

    /// The same database as another role; a password stays.
    pub(crate) fn with_user(&self, role: &str) -> Self {
        let mut url = self.clone();
        match url.params.iter_mut().find(|(name, _)| name == "user") {
            Some((_, user)) => *user = encode(role),
            None => url.user = Some(encode(role)),
        }
        url
    }

    /// The environment variables that lead a PostgreSQL client to this database, decoded.
    pub(crate) fn variables(&self) -> Vec<(&'static str, String)> {
        let (hosts, ports) = self.hosts_and_ports();
        let own = [
            ("host", Some(hosts)),
            ("port", Some(ports)),
            ("user", self.user.clone()),
            ("password", self.password.clone()),
        ];
        let own = own.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?)));
        let params = self.params.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let mut variables = vec![("PGDATABASE", self.database())];
        for (name, value) in own.chain(params).filter(|(_, value)| !value.is_empty()) {
            // A parameter given twice counts by its last value in libpq; so it does for `Command::envs`.
            if let Some((_, variable)) = VARIABLES.iter().find(|(known, _)| *known == name) {
                variables.push((variable, decode(value)));
            }
        }
        variables
    }

    /// `a:1,b:2` as `a,b` and `1,2`; brackets of an IPv6 address are only the URL's.
    fn hosts_and_ports(&self) -> (String, String) {
        let split = |host: &str| match host.rsplit_once(':') {
            Some((name, port)) if !port.contains(']') => (unbracket(name), port.to_owned()),
            _ => (unbracket(host), String::new()),
        };
        let (hosts, ports): (Vec<_>, Vec<_>) = self.hosts.split(',').map(split).unzip();
        let named = ports.iter().any(|port| !port.is_empty());
        (hosts.join(","), if named { ports.join(",") } else { String::new() })
    }
}

impl fmt::Display for ServerUrl {
    /// The URL, always with a `?` and a parameter, so that `&options=…` can be appended without looking.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("postgres://")?;
        if let Some(user) = &self.user {
            f.write_str(user)?;
            if let Some(password) = &self.password {
                write!(f, ":{password}")?;
            }
            f.write_char('@')?;
        }
        write!(f, "{}/{}", self.hosts, self.database)?;
        if self.params.is_empty() {
            return f.write_str("?application_name=threadline-devdb");
        }
        for (index, (name, value)) in self.params.iter().enumerate() {
            write!(f, "{}{name}={value}", if index == 0 { '?' } else { '&' })?;
        }
        Ok(())
    }
}

fn unbracket(host: &str) -> String {
    host.trim_start_matches('[').trim_end_matches(']').to_owned()
}

/// Percent-encodes what is not plain in every part of a URL. A slash stays: it is plain where paths are given.
fn encode(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").expect("writing to a String does not fail");
        }
    }
    encoded
}

/// The reverse of [`encode`]; what is no valid escape stays as it is.
fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let escape = after.get(..2).filter(|_| byte == b'%').and_then(|hex| std::str::from_utf8(hex).ok());
        match escape.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(decoded) => {
                bytes.push(decoded);
                rest = &after[2..];
            }
            None => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> ServerUrl {
        ServerUrl::parse(text).expect("it is a URL")
    }

    #[test]
    fn socket_url_takes_another_database_and_role() {
        let url = ServerUrl::socket("/dev/shm/threadline-1-0").with_database("app").with_user("read only");
        assert_eq!(
            url.to_string(),
            "postgres:///app?host=/dev/shm/threadline-1-0&port=5432&user=read%20only"
        );
        assert_eq!(parsed(&url.to_string()), url);
        assert!(url.variables().contains(&("PGUSER", "read only".to_owned())));
    }

    #[test]
    fn remote_url_keeps_its_password_and_parameters() {
        let url = parsed("postgresql://me:s%40crt@db.example:6543/main?sslmode=require");
        assert_eq!(
            url.with_database("other").with_user("reader").to_string(),
            "postgres://reader:s%40crt@db.example:6543/other?sslmode=require"
        );
        let expected = [
            ("PGDATABASE", "main"),
            ("PGHOST", "db.example"),
            ("PGPORT", "6543"),
            ("PGUSER", "me"),
            ("PGPASSWORD", "s@crt"),
            ("PGSSLMODE", "require"),
        ];
        assert_eq!(url.variables(), expected.map(|(name, value)| (name, value.to_owned())));
    }

    #[test]
    fn url_without_parameters_gets_one() {
        assert_eq!(
            parsed("postgres://db/main").to_string(),
            "postgres://db/main?application_name=threadline-devdb"
        );
    }

    #[test]
    fn encoded_socket_directory_and_several_hosts_become_variables() {
        assert!(
            parsed("postgres://postgres@%2Fdev%2Fshm:5433/x")
                .variables()
                .contains(&("PGHOST", "/dev/shm".into()))
        );
        let variables = parsed("postgres://[::1]:1,b:2/x").variables();
        assert!(variables.contains(&("PGHOST", "::1,b".into())), "{variables:?}");
        assert!(variables.contains(&("PGPORT", "1,2".into())), "{variables:?}");
    }

    #[test]
    fn other_text_is_not_a_url() {
        assert_eq!(ServerUrl::parse("host=localhost dbname=x"), None);
        assert_eq!(ServerUrl::parse("mysql://x"), None);
    }
}
