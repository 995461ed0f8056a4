//! Opens the file of Shoko's database without writing to it or next to it.

use std::fs::{self, File, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::ShokoError;
use crate::auth::file_access::describe;
use crate::store::sqlite_url;

/// The endings of the files that SQLite keeps next to a database.
const ENDINGS: [&str; 3] = ["-wal", "-shm", "-journal"];

/// Returns advice about a file that SQLite cannot read, or an empty text.
pub fn hint(path: &Path) -> &'static str {
    if beside(path, "-journal").exists() {
        ". Shoko is writing to the file or was not stopped properly: start and stop Shoko once, then try again"
    } else {
        ""
    }
}

/// Appends a suffix such as `-wal` to the path of a database. SQLite keeps its other files at these paths.
fn beside(path: &Path, ending: &str) -> PathBuf {
    PathBuf::from([path.as_os_str(), ending.as_ref()].join("".as_ref()))
}

/// A URL by which SQLite can open the file without creating other files next to it.
pub struct ReadableFile {
    pub url: String,
    /// The folder of a temporary copy of the file. It is deleted when this value is dropped.
    _copy: Option<TempDir>,
}

impl ReadableFile {
    /// Decides how to open the file. Usually, it is opened read-only.
    ///
    /// The exception is a database in WAL mode that no process has open, because SQLite would create files next to it.
    /// If its write-ahead log (WAL) is empty or missing, the file is complete and is opened as immutable. If the log
    /// has content, the file and the log are copied, and the copy is opened.
    pub fn new(path: &Path) -> Result<Self, ShokoError> {
        require_regular_files(path)?;
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| ShokoError::File { path, source }
        };
        let is_wal = is_wal(path)
            .map_err(failed(path))?
            .ok_or_else(|| ShokoError::NotShoko(path.to_owned()))?;
        let wal = beside(path, "-wal");
        let in_use = wal.exists() && beside(path, "-shm").exists();
        if !is_wal || in_use {
            return Ok(Self::at(path, "mode=ro&readonly_shm=1", None));
        }
        if fs::metadata(&wal).map_or(0, |file| file.len()) == 0 {
            return Ok(Self::at(path, "mode=ro&immutable=1", None));
        }
        // Only the owner can enter the folder, because the file contains keys.
        let private = tempfile::Builder::new()
            .permissions(Permissions::from_mode(0o700))
            .tempdir();
        let folder = private.map_err(failed(Path::new("a temporary folder")))?;
        let copy = folder.path().join("copy.db3");
        fs::copy(path, &copy).map_err(failed(path))?;
        fs::copy(&wal, folder.path().join("copy.db3-wal")).map_err(failed(&wal))?;
        Ok(Self::at(&copy, "mode=rw", Some(folder)))
    }

    fn at(path: &Path, parameters: &str, copy: Option<TempDir>) -> Self {
        let path = path.to_string_lossy();
        Self {
            url: sqlite_url(&path, parameters),
            _copy: copy,
        }
    }
}

/// Fails if the database, or a file that SQLite keeps next to it, is not a regular file. Opening a pipe, for
/// example, waits until another program opens it too.
fn require_regular_files(path: &Path) -> Result<(), ShokoError> {
    let others = ENDINGS.map(|ending| beside(path, ending));
    for path in [path].into_iter().chain(others.iter().map(PathBuf::as_path)) {
        // A file that does not exist or cannot be read is reported when it is opened.
        let Ok(file) = fs::metadata(path) else { continue };
        let Some(what) = describe(&file) else { continue };
        let path = path.to_owned();
        return Err(ShokoError::NotAFile { path, what });
    }
    Ok(())
}

/// Returns whether the file's header says that the database is in WAL mode (SQLite's file format, section 1.3). Returns
/// `None` if the file is not an SQLite database.
fn is_wal(path: &Path) -> io::Result<Option<bool>> {
    let mut head = Vec::new();
    File::open(path)?.take(20).read_to_end(&mut head)?;
    Ok((head.starts_with(b"SQLite format 3\0") && head.len() == 20).then(|| head[18] == 2))
}
