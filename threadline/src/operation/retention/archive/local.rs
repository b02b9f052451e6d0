//! An archive in a directory.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::Archive;

/// An archive in a directory: an object is a file in it, readable by its owner alone where the system knows such a thing.
#[derive(Clone, Debug)]
pub struct LocalArchive {
    dir: PathBuf,
}

impl LocalArchive {
    /// In this directory, which is made when something is first stored.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// The file of an object. No name leads out of the directory.
    fn path(&self, name: &str) -> io::Result<PathBuf> {
        let is_safe = |part: &str| {
            !part.is_empty()
                && !part.starts_with('.')
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
        };
        if !name.split('/').all(is_safe) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the name of an archive's object is of letters, digits, `_`, `-`, `.` and `/`",
            ));
        }
        Ok(self.dir.join(name))
    }
}

impl Archive for LocalArchive {
    fn store(&mut self, name: &str, content: &mut dyn Read) -> io::Result<()> {
        let path = self.path(name)?;
        let dir = path.parent().unwrap_or(&self.dir);
        fs::create_dir_all(dir)?;
        // In the same directory, so that the rename is atomic. Whoever has made it is alone in writing that name.
        let mut partial = path.clone().into_os_string();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        let file = create(&partial)?;
        let written = refuse_existing(&path)
            .and_then(|()| write(file, content))
            .and_then(|()| fs::rename(&partial, &path));
        if written.is_err() {
            let _ = fs::remove_file(&partial);
        }
        written?;
        // The names are durable once their directories are.
        let mut dir = Some(dir);
        while let Some(made) = dir.filter(|dir| dir.starts_with(&self.dir)) {
            sync_dir(made)?;
            dir = made.parent();
        }
        dir.filter(|dir| !dir.as_os_str().is_empty()).map_or(Ok(()), sync_dir)
    }

    fn open(&mut self, name: &str) -> io::Result<Box<dyn Read + '_>> {
        let path = self.path(name)?;
        refuse_directory(&path)?;
        Ok(Box::new(File::open(path)?))
    }

    fn size(&mut self, name: &str) -> io::Result<Option<u64>> {
        let path = self.path(name)?;
        refuse_directory(&path)?;
        Ok(Some(fs::metadata(path)?.len()))
    }
}

fn create(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// What has a directory in its place is not there, and nobody should look for bytes of it.
fn refuse_directory(path: &Path) -> io::Result<()> {
    match fs::metadata(path)?.is_dir() {
        true => {
            Err(io::Error::new(io::ErrorKind::IsADirectory, "there is a directory where its file belongs"))
        }
        false => Ok(()),
    }
}

fn refuse_existing(path: &Path) -> io::Result<()> {
    match path.symlink_metadata() {
        Ok(_) => Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "the archive has an object of that name, which is never replaced",
        )),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn write(mut file: File, content: &mut dyn Read) -> io::Result<()> {
    io::copy(content, &mut file)?;
    file.sync_all()
}

/// Only Unix opens a directory as a file, and only there it takes this.
fn sync_dir(dir: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(dir)?.sync_all() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leads_out_of_the_directory() {
        let dir = std::env::temp_dir().join(format!("threadline-archive-{}", std::process::id()));
        let mut archive = LocalArchive::new(&dir);
        for name in ["../a", "a/../b", "/a", "a//b", "", ".", "a/.b", "a\\b", "a\0b", "ä"] {
            let refused = archive.store(name, &mut &b"x"[..]).expect_err(name);
            assert_eq!(refused.kind(), io::ErrorKind::InvalidInput, "{name}");
        }
        assert!(!dir.exists());
    }

    #[test]
    fn what_is_there_is_never_replaced() {
        let dir = std::env::temp_dir().join(format!("threadline-archive-kept-{}", std::process::id()));
        let mut archive = LocalArchive::new(&dir);
        archive.store("2025_01/a", &mut &b"first"[..]).unwrap();
        let refused = archive.store("2025_01/a", &mut &b"second"[..]).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(dir.join("2025_01/a")).unwrap(), b"first");
        assert_eq!(fs::read_dir(dir.join("2025_01")).unwrap().count(), 1);
        fs::remove_dir_all(dir).unwrap();
    }
}
