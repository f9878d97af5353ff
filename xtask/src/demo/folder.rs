//! The fresh folder that holds the databases and logs of one run.

use std::path::Path;

use anyhow::Context as _;
use tempfile::TempDir;
use throwaway_postgres::Sweeper;

/// A folder of this run alone; gone with the run, however that ends, unless it is kept.
#[derive(Debug)]
pub(crate) struct Folder {
    sweeper: Option<Sweeper>,
    folder: TempDir,
}

impl Folder {
    /// Creates the folder below the system's folder for temporary files.
    ///
    /// # Errors
    /// When the folder cannot be created; the message says where it was tried.
    pub(crate) fn create() -> anyhow::Result<Self> {
        Self::named("saga-demo-")
    }

    /// As [`Folder::create`], with a name that begins with `prefix`.
    ///
    /// # Errors
    /// As [`Folder::create`].
    pub(crate) fn named(prefix: &str) -> anyhow::Result<Self> {
        let created = tempfile::Builder::new().prefix(prefix).tempdir();
        let folder = created.with_context(|| {
            let parent = std::env::temp_dir();
            format!(
                "could not create a folder for the databases in {}; point TMPDIR to a folder with \
                 free space that you may write to",
                parent.display()
            )
        })?;
        let sweeper = Sweeper::start(folder.path()).context("could not watch over a folder")?;
        Ok(Self { sweeper: Some(sweeper), folder })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Lets it outlive the run.
    pub(crate) fn keep(&mut self) {
        // Dropping a sweeper sends it away.
        self.sweeper = None;
        self.folder.disable_cleanup(true);
    }

    /// Whether it outlives the run.
    pub(crate) fn is_kept(&self) -> bool {
        self.sweeper.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_goes_with_the_run_unless_it_is_kept() {
        let mut folders = [Folder::create().unwrap(), Folder::create().unwrap()];
        folders[1].keep();
        let [gone, kept] = folders.map(|folder| folder.path().to_owned());
        assert!(!gone.exists() && kept.exists());
        std::fs::remove_dir_all(kept).unwrap();
    }
}
