//! The folder the reports go to, made before there is anything to write.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A folder that is known to take files.
///
/// # Drop
///
/// What had to be created for it is removed again as far as it is still empty, so that a run that ends without reports
/// leaves nothing behind.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// The innermost first.
    created: Vec<PathBuf>,
}

impl Folder {
    /// Creates the folder with all that are missing above it, and a file in it that is removed at once.
    ///
    /// # Errors
    ///
    /// When any of that cannot be done.
    pub fn prepare(path: PathBuf) -> io::Result<Self> {
        let is_missing = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
        let created = path.ancestors().take_while(is_missing);
        let created = created.map(Path::to_path_buf).collect();
        // Before the first attempt, so that half a path is removed, too.
        let folder = Self { path, created };
        fs::create_dir_all(&folder.path)?;
        let draft = folder.path.join("report.draft");
        fs::write(&draft, "")?;
        fs::remove_file(&draft)?;
        Ok(folder)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file into it, under another name first, so that a reader never finds half of it. Answers where it is.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn write(&self, name: &str, text: &str) -> io::Result<PathBuf> {
        let path = self.path.join(name);
        let draft = path.with_extension("draft");
        fs::write(&draft, text)?;
        fs::rename(&draft, &path)?;
        Ok(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        for folder in &self.created {
            // One that is not empty stays.
            let _ = fs::remove_dir(folder);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("lab-{name}-{}", std::process::id()))
    }

    #[test]
    fn what_was_created_and_not_used_is_gone_again() {
        let top = scratch("unused");
        let folder = Folder::prepare(top.join("a/b")).expect("writable");
        assert!(folder.path().is_dir());
        drop(folder);
        assert!(!top.exists());
    }

    #[test]
    fn a_folder_that_was_there_stays() {
        let top = scratch("kept");
        fs::create_dir(&top).expect("writable");
        drop(Folder::prepare(top.clone()).expect("writable"));
        fs::remove_dir(top).expect("still there, and empty");
    }

    #[test]
    fn a_file_in_the_way_is_an_error_and_stays() {
        let top = scratch("in-the-way");
        fs::write(&top, "ours").expect("writable");
        assert!(Folder::prepare(top.clone()).is_err());
        assert!(Folder::prepare(top.join("below")).is_err());
        fs::remove_file(top).expect("still there");
    }
}
