//! Where figures were measured, without saying whose machine it is.

use std::fmt;
use std::fs;
use std::thread;

use diesel::prelude::*;
use diesel::sql_types::Text;
use serde::Serialize;

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    cores: usize,
    /// As the kernel names it; `null` where it does not.
    cpu: Option<String>,
    memory_gib: Option<u64>,
    server: String,
    shared_buffers: String,
    fsync: String,
}

impl Machine {
    /// This machine, with the server behind `conn`.
    pub(crate) fn of(conn: &mut PgConnection) -> QueryResult<Self> {
        let mut setting = |name: &str| {
            diesel::select(diesel::dsl::sql::<Text>(&format!("current_setting('{name}')")))
                .get_result::<String>(conn)
        };
        let version = setting("server_version")?;
        Ok(Self {
            cores: thread::available_parallelism().map_or(1, usize::from),
            cpu: value_of("/proc/cpuinfo", "model name").map(|cpu| cpu.trim().to_owned()),
            memory_gib: value_of("/proc/meminfo", "MemTotal")
                .and_then(|size| size.trim().trim_end_matches("kB").trim().parse::<u64>().ok())
                .map(|kib| (kib + (1 << 19)) >> 20),
            // Without the packager's addition in parentheses.
            server: format!("PostgreSQL {}", version.split(' ').next().unwrap_or(&version)),
            shared_buffers: setting("shared_buffers")?,
            fsync: setting("fsync")?,
        })
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}, shared_buffers {}, fsync {}; {} cores",
            self.server, self.shared_buffers, self.fsync, self.cores
        )?;
        if let Some(cpu) = &self.cpu {
            write!(f, " ({cpu})")?;
        }
        self.memory_gib.map_or(Ok(()), |size| write!(f, ", {size} GiB"))
    }
}

/// What stands after `name:` in the first such line of a file.
pub(crate) fn value_of(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.to_owned())
    })
}
