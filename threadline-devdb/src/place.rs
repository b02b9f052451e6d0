//! Where a throwaway cluster and the sockets live: in memory when there is room, and short enough for a socket path.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

/// A cluster starts at 40 MB and each live database adds some 9 MB; containers often give only 64 MB.
const SHARED_MEMORY_BYTES: u64 = 1 << 30;

/// `sockaddr_un` holds 107 bytes of path; this leaves room for our directory's and the socket's own name.
const LONGEST_BASE_BYTES: usize = 60;

/// A path for a new directory, unique to this process and call. The watchdog creates it: whoever creates it owns it.
pub(crate) fn new_run_dir() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);

    let base = base_dir();
    loop {
        let name = format!("threadline-{}-{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let dir = base.join(name);
        // One may be left from before a reboot that ended its watchdog too and kept the file system.
        if !dir.exists() {
            return dir;
        }
    }
}

fn base_dir() -> PathBuf {
    let shared_memory = Path::new("/dev/shm");
    let temp = env::temp_dir();
    if is_shared(shared_memory) && free_bytes(shared_memory) >= SHARED_MEMORY_BYTES {
        shared_memory.to_owned()
    } else if temp.is_absolute() && is_shared(&temp) && temp.as_os_str().len() <= LONGEST_BASE_BYTES {
        temp
    } else {
        PathBuf::from("/tmp")
    }
}

/// Whether any account may create a directory here and only its owner remove it: mode 1777. The server's account can
/// differ from ours, and it is the one that cleans up.
fn is_shared(dir: &Path) -> bool {
    fs::metadata(dir).is_ok_and(|found| found.is_dir() && found.permissions().mode() & 0o1777 == 0o1777)
}

fn free_bytes(dir: &Path) -> u64 {
    rustix::fs::statvfs(dir).map_or(0, |space| space.f_bavail.saturating_mul(space.f_frsize))
}
