//! New files that are still there after the power has failed.
//!
//! The content of a file is on the disk once it is synced; its name is there once its folder is. It
//! must never touch what is there already.

use std::fs::DirBuilder;
use std::fs::File;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

/// Makes the folders above a file that are missing, with this mode.
///
/// # Errors
///
/// The system's.
pub fn make_folders(file: &Path, mode: u32) -> io::Result<()> {
    let folder = folder_of(file);
    if folder.exists() {
        return Ok(());
    }
    make_folders(folder, mode)?;
    match DirBuilder::new().mode(mode).create(folder) {
        Ok(()) => sync_name(folder),
        // Another process starts at the same time.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Writes the name of a new file or folder to the disk.
///
/// # Errors
///
/// The system's.
pub fn sync_name(path: &Path) -> io::Result<()> {
    File::open(folder_of(path))?.sync_all()
}

fn folder_of(path: &Path) -> &Path {
    let parent = path.parent().filter(|parent| *parent != Path::new(""));
    parent.unwrap_or_else(|| Path::new("."))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn missing_folders_are_made_and_others_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("made/here/file");
        for mode in [0o700, 0o755] {
            make_folders(&file, mode).unwrap();
            for folder in ["made", "made/here"] {
                let made = fs::metadata(root.path().join(folder)).unwrap();
                assert_eq!(made.permissions().mode() & 0o777, 0o700, "{folder}");
            }
        }
        assert!(!file.exists());
        fs::write(&file, "").unwrap();
        sync_name(&file).unwrap();
        assert!(make_folders(&file.join("below/it"), 0o700).is_err());
    }

    #[test]
    fn a_bare_name_is_in_the_working_folder() {
        make_folders(Path::new("name"), 0o700).unwrap();
        sync_name(Path::new("name")).unwrap();
    }
}
