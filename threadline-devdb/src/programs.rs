//! The installed PostgreSQL programs.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::Error;

/// Where Debian and Ubuntu put the programs, one directory per major; they are not on `PATH` there.
const DEBIAN: &str = "/usr/lib/postgresql";

/// The directory that holds `initdb`, `postgres` and, with most packages, `psql`, `pg_dump` and `pgbench`.
#[derive(Clone, Debug)]
pub struct Programs {
    dir: PathBuf,
}

impl Programs {
    /// Looks in `PG_BINDIR`, else in the newest `/usr/lib/postgresql/*/bin`, else along `PATH`.
    ///
    /// A `PG_BINDIR` that is set and not empty is the only place looked at: it is how a run is pinned to one major.
    ///
    /// # Errors
    ///
    /// [`Error::MissingServer`] when `initdb` and `postgres` are in none of them.
    pub fn find() -> Result<Self, Error> {
        if let Some(dir) = env::var_os("PG_BINDIR").filter(|dir| !dir.is_empty()) {
            let searched = format!("`{}` (`PG_BINDIR`)", dir.display());
            return Self::at(PathBuf::from(dir)).ok_or(Error::MissingServer { searched });
        }
        newest_in(Path::new(DEBIAN))
            .or_else(|| on_path(&env::var_os("PATH")?))
            .ok_or_else(|| Error::MissingServer { searched: format!("{DEBIAN}/*/bin or on `PATH`") })
    }

    /// The directory itself, for the front of a `PATH`.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What to run for one program, as in `path("pg_dump")`.
    ///
    /// Some packages have the server without its clients. A program that is not in the directory is left to `PATH`:
    /// `psql` of any version will do, while `pg_dump` refuses a server newer than itself.
    pub fn path(&self, program: &str) -> PathBuf {
        let path = self.dir.join(program);
        if path.is_file() { path } else { PathBuf::from(program) }
    }

    /// The server's major version, such as 15, as `postgres --version` says it.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when `postgres` cannot be run, [`Error::Start`] when it answers something else.
    pub fn major(&self) -> Result<u32, Error> {
        let postgres = self.path("postgres");
        let answer = Command::new(&postgres)
            .arg("--version")
            .output()
            .map_err(Error::io(format!("run `{}`", postgres.display())))?;
        let text = String::from_utf8_lossy(&answer.stdout).into_owned();
        major_in(&text).ok_or_else(|| Error::Start { output: format!("no version in its answer `{text}`") })
    }

    /// Absolute, because the server starts in `/`.
    fn at(dir: PathBuf) -> Option<Self> {
        let dir = std::path::absolute(dir).ok()?;
        (dir.join("initdb").is_file() && dir.join("postgres").is_file()).then_some(Self { dir })
    }
}

fn newest_in(root: &Path) -> Option<Programs> {
    let mut majors: Vec<u32> =
        fs::read_dir(root).ok()?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    majors.sort_unstable_by(|a, b| b.cmp(a));
    majors.iter().find_map(|major| Programs::at(root.join(major.to_string()).join("bin")))
}

/// Follows a link on `PATH` to the directory it comes from, where the other programs are.
fn on_path(path: &OsString) -> Option<Programs> {
    env::split_paths(path).find_map(|dir| {
        let initdb = fs::canonicalize(dir.join("initdb")).ok()?;
        Programs::at(initdb.parent()?.to_owned())
    })
}

/// `postgres (PostgreSQL) 15.18 (Debian …)`, or `18beta1` in the third place, to the leading number.
fn major_in(version: &str) -> Option<u32> {
    let number = version.split_whitespace().nth(2)?;
    let digits = number.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn major_is_read_from_releases_and_betas() {
        assert_eq!(major_in("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"), Some(15));
        assert_eq!(major_in("postgres (PostgreSQL) 18beta1\n"), Some(18));
        assert_eq!(major_in("something else\n"), None);
    }
}
