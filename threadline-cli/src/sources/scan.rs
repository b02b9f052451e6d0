//! Reads source files and finds the audited models and the tables in them.
//!
//! Every `.rs` file of a source directory is read, whether a `mod` reaches it or not: a macro may declare the module.
//! Left out is what the application does not hold: whatever is under `#[cfg(test)]`, hidden directories, `target`,
//! other packages. Not found is what no source says: items made by macros; nor are items inside functions.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use syn::ext::IdentExt;
use syn::{DeriveInput, Expr, ExprLit, Ident, Item, ItemMacro, ItemMod, ItemStruct, Lit, Meta};

use super::attributes::{derives_audited, is_for_tests, without_cfg_attr};
use super::table::TableDeclaration;
use super::{Found, Place, SourceDirectory, Sources, located};

/// Every audited model and every table in `directories`.
pub(crate) fn scan(directories: &[SourceDirectory]) -> Result<Sources> {
    let mut scanner = Scanner::default();
    for SourceDirectory { path, package } in directories {
        scanner.collect(path, *package, &[])?;
    }
    // Files named by `#[path]` are added while reading.
    while let Some(file) = scanner.waiting.pop() {
        if scanner.read.insert(file.path.clone()) {
            scanner.read(&file)?;
        }
    }
    scanner.finish()
}

#[derive(Default)]
struct Scanner {
    waiting: Vec<SourceFile>,
    read: HashSet<PathBuf>,
    found: Sources,
    /// Files and directories, without extension, of modules that are there in tests only.
    for_tests: Vec<PathBuf>,
    mistakes: Vec<(PathBuf, String)>,
}

struct SourceFile {
    path: PathBuf,
    package: usize,
    module: Vec<String>,
}

/// The items of a file, or of a `mod name { .. }` in it.
struct Block<'a> {
    file: &'a SourceFile,
    module: Vec<String>,
    /// Where the paths of `#[path]` start.
    named: PathBuf,
    /// Where `mod name;` looks for its file.
    children: PathBuf,
}

impl Block<'_> {
    fn place(&self, ident: &Ident) -> Place {
        let Self { file, module, .. } = self;
        let line = ident.span().start().line;
        Place { file: file.path.clone(), line, package: file.package, module: module.clone() }
    }
}

impl Scanner {
    /// Puts the files of `directory` on the list; `module` is the one it stands for.
    fn collect(&mut self, directory: &Path, package: usize, module: &[String]) -> Result<()> {
        let unreadable = || format!("cannot read {}", directory.display());
        let is_package = directory.join("Cargo.toml").exists();
        for entry in fs::read_dir(directory).with_context(unreadable)? {
            let entry = entry.with_context(unreadable)?;
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.file_type().with_context(unreadable)?.is_dir() {
                let skipped = name.starts_with('.')
                    || name == "target"
                    || is_package && ["tests", "examples", "benches"].contains(&&*name)
                    || path.join("Cargo.toml").exists();
                if !skipped {
                    self.collect(&path, package, &[module, &[name]].concat())?;
                }
            } else if let Some(stem) = name.strip_suffix(".rs") {
                let own = if is_directory(OsStr::new(stem)) { vec![] } else { vec![String::from(stem)] };
                self.waiting.push(SourceFile { path, package, module: [module, &own].concat() });
            }
        }
        Ok(())
    }

    fn read(&mut self, file: &SourceFile) -> Result<()> {
        let unreadable = || format!("cannot read {}", file.path.display());
        let text = fs::read_to_string(&file.path).with_context(unreadable)?;
        match syn::parse_file(&text) {
            Ok(parsed) => {
                let directory = file.path.parent().unwrap_or(Path::new("")).to_path_buf();
                let stem = file.path.file_stem().unwrap_or_default();
                let children = if is_directory(stem) { directory.clone() } else { directory.join(stem) };
                let block = Block { file, module: file.module.clone(), named: directory, children };
                self.items(&parsed.items, &block);
            }
            // A file that names neither can hold neither, so its mistakes are the compiler's to report.
            Err(_) if !text.contains("Audited") && !text.contains("table") => {}
            Err(error) => self.mistake(&file.path, error),
        }
        Ok(())
    }

    fn items(&mut self, items: &[Item], block: &Block<'_>) {
        for item in items {
            match item {
                Item::Struct(item) => self.structure(item, block),
                Item::Mod(item) => self.module(item, block),
                Item::Macro(item) => self.macro_call(item, block),
                _ => {}
            }
        }
    }

    fn structure(&mut self, item: &ItemStruct, block: &Block<'_>) {
        let attrs = without_cfg_attr(&item.attrs);
        if derives_audited(&attrs) && !is_for_tests(&attrs) {
            let place = block.place(&item.ident);
            let item = DeriveInput::from(ItemStruct { attrs, ..item.clone() });
            self.found.models.push(Found { item, place });
        }
    }

    fn module(&mut self, item: &ItemMod, block: &Block<'_>) {
        let name = item.ident.unraw().to_string();
        let children = block.children.join(&name);
        let path = path_attribute(item).map(|path| block.named.join(path));
        let module = [block.module.as_slice(), &[name]].concat();
        match &item.content {
            _ if is_for_tests(&item.attrs) => {
                self.for_tests.push(path.unwrap_or(children).with_extension(""));
            }
            Some((_, items)) => {
                let block = Block { file: block.file, module, named: children.clone(), children };
                self.items(items, &block);
            }
            None => {
                let package = block.file.package;
                // As every other file's, its path is real: it may be reached a second time.
                let path = path.and_then(|path| path.canonicalize().ok());
                self.waiting.extend(path.map(|path| SourceFile { path, package, module }));
            }
        }
    }

    fn macro_call(&mut self, item: &ItemMacro, block: &Block<'_>) {
        let name = item.mac.path.segments.last().map(|segment| &segment.ident);
        if let Some(name) = name.filter(|name| *name == "table" && !is_for_tests(&item.attrs)) {
            match item.mac.parse_body::<TableDeclaration>() {
                Ok(item) => self.found.tables.push(Found { item, place: block.place(name) }),
                Err(error) => self.mistake(&block.file.path, error),
            }
        }
    }

    fn mistake(&mut self, file: &Path, error: syn::Error) {
        self.mistakes.extend(located(file, error).into_iter().map(|line| (file.to_path_buf(), line)));
    }

    fn finish(self) -> Result<Sources> {
        let Self { mut found, for_tests, mistakes, .. } = self;
        let counts = |file: &Path| {
            let module = file.with_extension("");
            !for_tests.iter().any(|path| module.starts_with(path))
        };
        let mut mistakes: Vec<String> =
            mistakes.into_iter().filter(|(file, _)| counts(file)).map(|(_, line)| line).collect();
        if !mistakes.is_empty() {
            mistakes.sort();
            bail!("cannot read the sources\n{}", mistakes.join("\n"));
        }
        found.models.retain(|model| counts(&model.place.file));
        found.tables.retain(|table| counts(&table.place.file));
        // Directories are read in any order, results are the same every time.
        found.models.sort_by(|left, right| left.place.cmp_by_line(&right.place));
        found.tables.sort_by(|left, right| left.place.cmp_by_line(&right.place));
        Ok(found)
    }
}

/// Whether a file of this name holds the module of its directory.
fn is_directory(stem: &OsStr) -> bool {
    ["lib", "main", "mod"].iter().any(|name| stem == *name)
}

fn path_attribute(item: &ItemMod) -> Option<PathBuf> {
    item.attrs.iter().find_map(|attr| match &attr.meta {
        Meta::NameValue(pair) if pair.path.is_ident("path") => match &pair.value {
            Expr::Lit(ExprLit { lit: Lit::Str(path), .. }) => Some(PathBuf::from(path.value())),
            _ => None,
        },
        _ => None,
    })
}
