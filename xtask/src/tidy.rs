//! The laws that the compiler cannot tell, each as a search through the repository's own files.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

/// Files that may be longer than [`LONGEST`], each with its reason. The list should only shrink.
const LONG_FILES: &[(&str, &str)] = &[];
/// Most lines of a file of code.
const LONGEST: usize = 500;
/// Words that say that the noun is still missing.
const DRAWERS: [&str; 11] = [
    "util",
    "utils",
    "helper",
    "helpers",
    "common",
    "misc",
    "base",
    "manager",
    "handler",
    "processor",
    "dto",
];

/// Checks all of them, and names every sinner.
pub fn check(root: &Path) -> anyhow::Result<()> {
    let mut sins = Vec::new();
    let mut files = Vec::new();
    for folder in ["crates", "xtask", "lab", "docs", ".ci"] {
        walk(&root.join(folder), &mut files)?;
    }
    for file in &files {
        let name = file.strip_prefix(root)?.display().to_string();
        let Ok(text) = fs::read_to_string(file) else { continue };
        if file.extension().is_some_and(|extension| extension == "rs") {
            code(&name, &text, &mut sins);
        }
    }
    lint_files(root, &mut sins)?;
    error_codes(root, &files, &mut sins)?;
    if sins.is_empty() { Ok(()) } else { bail!("the repository is not tidy:\n  {}", sins.join("\n  ")) }
}

fn code(name: &str, text: &str, sins: &mut Vec<String>) {
    if !text.starts_with("//! ") {
        sins.push(format!("{name}: the first line is not a sentence after `//!`"));
    }
    let lines = text.lines().count();
    if lines > LONGEST && !LONG_FILES.iter().any(|(long, _)| *long == name) {
        sins.push(format!("{name}: {lines} lines, more than {LONGEST}: is there a noun missing?"));
    }
    let stem = Path::new(name).file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    if stem.split('_').any(|word| DRAWERS.contains(&word)) {
        sins.push(format!("{name}: a drawer; what is the noun?"));
    }
    if name.starts_with("xtask/") {
        return;
    }
    for (number, line) in text.lines().enumerate() {
        let mut sin = |what: &str| sins.push(format!("{name}:{}: {what}", number + 1));
        let line = line.trim_start();
        if line.starts_with("//") {
            continue;
        }
        let is_static =
            ["static ", "pub static ", "pub(crate) static "].iter().any(|start| line.starts_with(start));
        if is_static && !line.contains("GLOBAL: ") {
            sin("a global: what code needs, it is handed");
        }
        for global in ["OnceLock<", "LazyLock<", "thread_local!"] {
            if line.contains(global) {
                sin("a global: what code needs, it is handed");
            }
        }
        if line.contains("exec /bin/sh") && !name.contains("sources/ssh/") {
            sin("only one file speaks to a remote shell");
        }
        if ["todo!(", "unimplemented!(", "dbg!("].iter().any(|left| line.contains(left)) {
            sin("left undone");
        }
    }
}

/// A crate's own `clippy.toml` replaces the root's, so it must hold every line of it.
fn lint_files(root: &Path, sins: &mut Vec<String>) -> anyhow::Result<()> {
    let ours = fs::read_to_string(root.join("clippy.toml")).context("clippy.toml")?;
    for name in ["domain", "collectors", "operations"] {
        let theirs = fs::read_to_string(root.join("crates").join(name).join("clippy.toml")).context(name)?;
        for line in ours.lines().filter(|line| !line.starts_with('#')) {
            if !theirs.contains(line.trim()) {
                sins.push(format!("crates/{name}/clippy.toml lacks: {}", line.trim()));
            }
        }
    }
    Ok(())
}

/// Every code of an error or problem stands in `docs/errors.md`.
fn error_codes(root: &Path, files: &[PathBuf], sins: &mut Vec<String>) -> anyhow::Result<()> {
    const BEFORE: [&str; 6] = [
        "Error::invalid(",
        "Error::conflict(",
        "Error::unreachable(",
        "Error::not_found(",
        "Problem::new(",
        "ErrorKind::",
    ];
    let told = fs::read_to_string(root.join("docs/errors.md")).context("docs/errors.md")?;
    for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "rs")) {
        let name = file.strip_prefix(root)?.display().to_string();
        if !name.contains("/src/") || name.contains("test") || name.starts_with("xtask") {
            continue;
        }
        let text = fs::read_to_string(file)?;
        for before in BEFORE {
            for rest in text.split(before).skip(1) {
                // a kind's own name, as in `ErrorKind::Invalid, "code"`
                let rest = rest.trim_start_matches(char::is_alphabetic).trim_start_matches([',', ' ', '\n']);
                let code = rest.strip_prefix('"').and_then(|rest| rest.split('"').next()).unwrap_or_default();
                let is_code = code.contains('_') && code.chars().all(|c| c.is_ascii_lowercase() || c == '_');
                if is_code && !told.contains(&format!("`{code}`")) {
                    sins.push(format!("{name}: the code {code} is not in docs/errors.md"));
                }
            }
        }
    }
    Ok(())
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            walk(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}
