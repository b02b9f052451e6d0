//! How much memory this process comes to hold while it does something.

use std::fs;

use anyhow::Context;

use crate::machine::value_of;

/// Watches from its creation on.
pub(crate) struct PeakMemory {
    began_kib: u64,
}

impl PeakMemory {
    /// Has the kernel's record of the peak (`VmHWM`) begin anew at what is resident now: that is what writing 5 to
    /// `clear_refs` does, see proc(5).
    ///
    /// # Errors
    ///
    /// Where `/proc` is not Linux's, or not ours to write.
    pub(crate) fn watch() -> anyhow::Result<Self> {
        fs::write("/proc/self/clear_refs", "5").context("the peak of resident memory could not be reset")?;
        Ok(Self { began_kib: resident_kib("VmRSS")? })
    }

    /// By how much it has grown at most since then, in MiB. Memory that was freed but kept before is not seen to grow, so this is
    /// for what comes first in a process, or is much larger than all before it.
    pub(crate) fn grown_mib(&self) -> anyhow::Result<f64> {
        let grown_kib = resident_kib("VmHWM")?.saturating_sub(self.began_kib);
        #[expect(clippy::cast_precision_loss, reason = "memory is far below 2^53 KiB")]
        Ok(grown_kib as f64 / 1024.0)
    }
}

fn resident_kib(name: &str) -> anyhow::Result<u64> {
    value_of("/proc/self/status", name)
        .and_then(|size| size.trim().trim_end_matches("kB").trim().parse().ok())
        .with_context(|| format!("/proc/self/status does not tell `{name}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peak_is_seen_also_when_it_is_over() {
        let memory = PeakMemory::watch().unwrap();
        drop(std::hint::black_box(vec![1_u8; 64 << 20]));
        let grown = memory.grown_mib().unwrap();
        assert!((60.0..100.0).contains(&grown), "{grown}");
        assert!(PeakMemory::watch().unwrap().grown_mib().unwrap() < 30.0, "a new watch begins anew");
    }
}
