//! New files that are still there after the power has failed.
//!
//! The content of a file is on the disk once it is synced; its name is there once its folder is. It
//! must never touch what is there already, nor leave half of a file behind.

use std::fs;
use std::fs::DirBuilder;
use std::fs::File;
use std::fs::OpenOptions;
use std::fs::Permissions;
use std::io;
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::path::PathBuf;

use rustix::fs::CWD;
use rustix::fs::RenameFlags;
use rustix::fs::renameat_with;
use uuid::Uuid;

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

/// Writes a new file with this mode, and its name: all of it or, where the disk is full or the
/// process ends half-way, nothing under that name. Never over a file that is there.
///
/// # Errors
///
/// The system's; `AlreadyExists` where there is one.
pub fn write_new(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let draft = draft_of(path);
    let mut options = OpenOptions::new();
    let options = options.write(true).create_new(true).mode(mode);
    let file = options.open(&draft)?;
    let written = fill(file, content, mode).and_then(|()| publish(&draft, path));
    // What was linked has its own name by now, and what was renamed is not here any more.
    let _ = fs::remove_file(&draft);
    written?;
    sync_name(path)
}

fn fill(mut file: File, content: &[u8], mode: u32) -> io::Result<()> {
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(content)?;
    file.sync_all()
}

/// Gives the draft its name, if nothing has it. Where the file system has no links, it is renamed.
fn publish(draft: &Path, path: &Path) -> io::Result<()> {
    match fs::hard_link(draft, path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Ok(renameat_with(
            CWD,
            draft,
            CWD,
            path,
            RenameFlags::NOREPLACE,
        )?),
        linked => linked,
    }
}

/// Beside the file, because a link leads to no other file system; each attempt has its own, whatever
/// processes there are, also in other containers, and whatever they left behind.
fn draft_of(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    folder_of(path).join(format!(".{name}.{}", Uuid::now_v7().simple()))
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
    use super::*;

    #[test]
    fn a_new_file_is_there_as_a_whole_or_not_at_all() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("secret");
        write_new(&path, b"whole", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let again = write_new(&path, b"other", 0o600).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        assert_eq!(
            fs::read_dir(root.path()).unwrap().count(),
            1,
            "no draft stays"
        );
    }

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
