//! Which directories hold the host's sources, as cargo tells.

use std::collections::BTreeSet;
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::SourceDirectory;

/// The part of `cargo metadata` that matters here. Without dependencies its packages are the members of the workspace.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_root: PathBuf,
}

#[derive(Deserialize)]
struct Package {
    manifest_path: PathBuf,
    targets: Vec<Target>,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Target {
    kind: Vec<String>,
    src_path: PathBuf,
}

#[derive(Deserialize)]
struct Dependency {
    /// `None` for an ordinary dependency, else `dev` or `build`.
    kind: Option<String>,
    /// Set for a dependency of which the sources are here.
    path: Option<PathBuf>,
}

/// The source directories of the package of `manifest` and of the workspace members it depends on.
///
/// At the root of a workspace all members count. A package's sources are the directories of its library's and its
/// binaries' first files, which is `src`; what only tests, examples or benchmarks see is not the application.
pub(crate) fn source_directories(manifest: &Path) -> Result<Vec<SourceDirectory>> {
    let manifest = manifest.canonicalize().with_context(|| format!("cannot find {}", manifest.display()))?;
    let Metadata { packages, workspace_root } = metadata(&manifest)?;
    let is_root = manifest.parent().is_some_and(|directory| is_same(directory, &workspace_root));
    let chosen =
        if is_root { (0..packages.len()).collect() } else { with_dependencies(&packages, &manifest) };
    let directories = chosen.into_iter().flat_map(|package| {
        let paths = packages[package].source_directories();
        paths.into_iter().map(move |path| SourceDirectory { path, package })
    });
    Ok(directories.collect())
}

fn metadata(manifest: &Path) -> Result<Metadata> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--format-version", "1", "--manifest-path"])
        .arg(manifest)
        .output()
        .context("cannot run cargo; name the directories to read with `--source`")?;
    ensure!(
        output.status.success(),
        "cargo cannot read {}:\n{}",
        manifest.display(),
        String::from_utf8_lossy(&output.stderr).trim_end()
    );
    serde_json::from_slice(&output.stdout).context("cannot read the output of `cargo metadata`")
}

/// The package of `manifest`, and the members it reaches by paths, tests' and build scripts' dependencies left aside.
fn with_dependencies(packages: &[Package], manifest: &Path) -> BTreeSet<usize> {
    let at = |directory: &Path| {
        packages.iter().position(|package| package.directory().is_some_and(|path| is_same(path, directory)))
    };
    let mut chosen = BTreeSet::new();
    let mut reached: Vec<usize> = manifest.parent().and_then(at).into_iter().collect();
    while let Some(package) = reached.pop() {
        if chosen.insert(package) {
            let dependencies =
                packages[package].dependencies.iter().filter(|dependency| dependency.kind.is_none());
            reached.extend(dependencies.filter_map(|dependency| at(dependency.path.as_deref()?)));
        }
    }
    chosen
}

impl Package {
    fn directory(&self) -> Option<&Path> {
        self.manifest_path.parent()
    }

    fn source_directories(&self) -> BTreeSet<PathBuf> {
        let outside = ["example", "test", "bench", "custom-build"];
        let targets =
            self.targets.iter().filter(|target| !target.kind.iter().any(|kind| outside.contains(&&**kind)));
        let all: BTreeSet<PathBuf> =
            targets.filter_map(|target| Some(target.src_path.parent()?.to_path_buf())).collect();
        // `src/bin` is read with `src`.
        let inner = |path: &PathBuf| path.ancestors().skip(1).any(|above| all.contains(above));
        all.iter().filter(|path| !inner(path)).cloned().collect()
    }
}

fn is_same(left: &Path, right: &Path) -> bool {
    left.canonicalize().ok() == right.canonicalize().ok()
}
