//! The fresh folder that holds the databases and logs of one run.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tempfile::TempDir;

/// A folder of this run alone; removed when dropped unless it is to be kept.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    removed_on_drop: Option<TempDir>,
}

impl Folder {
    /// Creates the folder below the system's folder for temporary files.
    ///
    /// # Errors
    /// When the folder cannot be created; the message says where it was tried.
    pub(crate) fn create(keep: bool) -> anyhow::Result<Self> {
        let created = tempfile::Builder::new().prefix("saga-demo-").tempdir();
        let folder = created.with_context(|| {
            let parent = std::env::temp_dir();
            format!(
                "could not create a folder for the databases in {}; point TMPDIR to a folder with \
                 free space that you may write to",
                parent.display()
            )
        })?;
        Ok(match keep {
            true => Self { path: folder.keep(), removed_on_drop: None },
            false => Self { path: folder.path().to_owned(), removed_on_drop: Some(folder) },
        })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it outlives the run.
    pub(crate) fn is_kept(&self) -> bool {
        self.removed_on_drop.is_none()
    }
}
