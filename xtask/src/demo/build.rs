//! Builds the programs of the demo and finds them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, bail};
use serde::Deserialize;
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

use super::screen::Screen;
use crate::workspace;

/// Where each program is.
#[derive(Debug, Clone)]
pub(crate) struct Programs(BTreeMap<String, PathBuf>);

impl Programs {
    /// The program of the given name.
    ///
    /// # Errors
    /// When there is no such program.
    pub(crate) fn path(&self, name: &str) -> anyhow::Result<&Path> {
        let path = self.0.get(name).map(PathBuf::as_path);
        path.with_context(|| {
            let known: Vec<_> = self.0.keys().map(String::as_str).collect();
            format!(
                "there is no program `{name}`, only: {}. Is saga-examples/src/bin complete?",
                known.join(", ")
            )
        })
    }
}

/// Builds every program of these packages with these of their features; cargo's own progress goes to
/// stderr.
///
/// # Errors
/// When cargo cannot be called or the build fails.
pub(crate) async fn programs(
    screen: &mut Screen,
    packages: &[&str],
    features: &str,
) -> anyhow::Result<Programs> {
    screen.say("building the services and the workers (the first time takes some minutes)");
    let mut cargo = Command::from(workspace::cargo())
        .args(["build", "--bins", "--features", features])
        .args(packages.iter().flat_map(|package| ["--package", package]))
        .arg("--message-format=json-render-diagnostics")
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("could not call cargo")?;
    let mut messages = String::new();
    let mut stdout = cargo.stdout.take().expect("stdout was asked to be a pipe");
    stdout.read_to_string(&mut messages).await.context("could not read what cargo built")?;
    let status = cargo.wait().await.context("could not wait for cargo")?;
    if !status.success() {
        bail!("the build of {} failed ({status}); cargo says why above", packages.join(", "));
    }
    Ok(built(&messages))
}

/// The programs that cargo's messages name.
fn built(messages: &str) -> Programs {
    #[derive(Deserialize)]
    struct Target {
        name: String,
    }
    #[derive(Deserialize)]
    struct Artifact {
        target: Target,
        executable: Option<PathBuf>,
    }
    let artifacts = messages.lines().filter_map(|line| serde_json::from_str::<Artifact>(line).ok());
    let programs = artifacts.filter_map(|a| a.executable.map(|path| (a.target.name, path)));
    Programs(programs.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_in_cargos_messages() {
        let programs = built(
            r#"{"reason":"compiler-artifact","target":{"name":"serde"},"executable":null}
{"reason":"compiler-artifact","target":{"name":"points"},"executable":"target/debug/points"}
{"reason":"build-finished","success":true}"#,
        );
        assert_eq!(programs.path("points").unwrap(), Path::new("target/debug/points"));
        let missing = programs.path("orders").unwrap_err().to_string();
        assert!(missing.contains("no program `orders`, only: points"), "{missing}");
    }
}
