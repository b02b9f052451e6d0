//! The account the server runs as: PostgreSQL refuses root.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::error::Error;

/// The uid and gid to drop to, or `None` when this process is not root and the server may run as is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Account(pub(crate) Option<(u32, u32)>);

impl Account {
    /// `postgres`, else `nobody`, when this process is root.
    ///
    /// # Errors
    ///
    /// [`Error::MissingAccount`] when root finds neither in /etc/passwd, where `initdb` looks its own name up.
    pub(crate) fn for_server() -> Result<Self, Error> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self(None));
        }
        let passwd = fs::read_to_string("/etc/passwd").map_err(Error::io("read /etc/passwd"))?;
        let ids = ["postgres", "nobody"].iter().find_map(|name| ids_of(name, &passwd));
        ids.map(|ids| Self(Some(ids))).ok_or(Error::MissingAccount)
    }

    /// Makes `command` run as this account. The standard library clears root's other groups with it.
    pub(crate) fn apply(self, command: &mut Command) {
        if let Self(Some((uid, gid))) = self {
            command.uid(uid).gid(gid);
        }
    }
}

/// The uid and gid of `name` in the text of /etc/passwd; root's own are never an answer.
fn ids_of(name: &str, passwd: &str) -> Option<(u32, u32)> {
    let line = passwd.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut fields = line.split(':').skip(2);
    let uid = fields.next()?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    (uid != 0).then_some((uid, gid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_those_of_the_exact_name() {
        let passwd = "root:x:0:0::/root:/bin/sh\npostgres-exporter:x:7:7::/:\npostgres:x:101:104::/:\n";
        assert_eq!(ids_of("postgres", passwd), Some((101, 104)));
        assert_eq!(ids_of("nobody", passwd), None);
        assert_eq!(ids_of("root", passwd), None);
    }
}
