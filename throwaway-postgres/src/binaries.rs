//! Finding the server's programs.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Error;

/// Folders in which distributions keep one folder per release.
const RELEASES: [(&str, &str); 4] = [
    ("/usr/lib/postgresql", "bin"),
    ("/usr/local/opt", "bin"),
    ("/opt/homebrew/opt", "bin"),
    ("/usr", "bin"),
];

/// The folder with `initdb` and `postgres`, the newest release where there are several.
pub(crate) fn folder() -> Result<PathBuf, Error> {
    let told = Command::new("pg_config")
        .arg("--bindir")
        .output()
        .ok()
        .map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut candidates: Vec<PathBuf> = told.into_iter().collect();
    for (parent, below) in RELEASES {
        candidates.extend(releases(Path::new(parent), below));
    }
    candidates.extend(std::env::split_paths(&path));
    let complete =
        |folder: &PathBuf| folder.join("initdb").exists() && folder.join("postgres").exists();
    candidates.into_iter().find(complete).ok_or(Error::NotInstalled)
}

fn releases(parent: &Path, below: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(parent).into_iter().flatten().filter_map(Result::ok);
    let mut folders: Vec<_> = entries.map(|entry| entry.path()).collect();
    let number = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.trim_start_matches("postgresql@").parse::<u32>().unwrap_or(0)
    };
    folders.sort_by_key(|path| std::cmp::Reverse(number(path)));
    folders.into_iter().map(|folder| folder.join(below)).collect()
}
