//! Checks who else can read or change the files of the service.
//!
//! Access through a group is normal: container platforms give a volume to a group of the process, and remap user
//! ids. The checks therefore reject only files that a stranger could have written, and files that are not regular, because
//! opening a pipe, for example, waits until another program opens it too.

use std::collections::BTreeSet;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::process::{Gid, getegid, geteuid, getgroups};

use super::OpenError;

const OTHERS_CAN_WRITE: u32 = 0o002;
const OTHERS_CAN_READ_OR_WRITE: u32 = 0o006;
const ROOT: u32 = 0;

/// The reason why a file must not be used. The message is for the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileAccessError {
    #[error("every user of this machine can change this file. Run `chmod o-w` on it")]
    OthersCanWrite,
    #[error(
        "this file belongs to another user (uid {uid}) and to a group that this process is not in (gid {gid}). Run the \
         program as that user, or run `chown {own}` on the file"
    )]
    ForeignOwner { uid: u32, gid: u32, own: u32 },
    #[error("this is {0}, not a regular file. Name a regular file")]
    NotRegular(&'static str),
    #[error("this pipe belongs to another user (uid {uid}). Name a file, or a pipe of the user that runs the program")]
    ForeignPipe { uid: u32 },
}

/// The reason why a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadFileError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Access(#[from] FileAccessError),
}

/// Whether a file may be a pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pipes {
    Rejected,
    /// A pipe of root or of the user of this process is accepted. Operators pass secrets through pipes, for example with
    /// `SHOKO_AUTH_SECRET_KEY_FILE=<(…)` in a shell.
    OwnAccepted,
}

/// The user and the groups of this process.
struct Identity {
    uid: u32,
    gids: Vec<u32>,
}

impl Identity {
    fn of_process() -> io::Result<Self> {
        let mut gids: Vec<u32> = getgroups()?.into_iter().map(Gid::as_raw).collect();
        gids.push(getegid().as_raw());
        let uid = geteuid().as_raw();
        Ok(Self { uid, gids })
    }

    fn is_foreign(&self, owner: &Owner) -> bool {
        ![self.uid, ROOT].contains(&owner.uid) && !self.gids.contains(&owner.gid)
    }
}

/// The owner and the mode of a file or folder.
struct Owner {
    uid: u32,
    gid: u32,
    mode: u32,
}

impl From<&Metadata> for Owner {
    fn from(metadata: &Metadata) -> Self {
        Self {
            uid: metadata.uid(),
            gid: metadata.gid(),
            mode: metadata.mode(),
        }
    }
}

/// Checks files, which need not exist. Warns about folders in which a stranger can replace them. `named` is a file that
/// the operator has named for the sealing secret, if any: it may be a pipe.
pub fn check_files(own: &[PathBuf], named: Option<&PathBuf>) -> Result<(), OpenError> {
    let identity = Identity::of_process().map_err(OpenError::UnknownGroups)?;
    for file in own {
        check_file(file, &identity, Pipes::Rejected)?;
    }
    if let Some(file) = named {
        check_file(file, &identity, Pipes::OwnAccepted)?;
    }
    let files = own.iter().chain(named);
    let folders: BTreeSet<PathBuf> = files.flat_map(|file| folders_of(file)).collect();
    folders.iter().try_for_each(|folder| check_folder(folder, &identity))
}

/// Reads a small file. Fails without waiting if the file is neither regular nor a pipe that `pipes` accepts.
pub fn read_file(path: &Path, pipes: Pipes) -> Result<String, ReadFileError> {
    let kind = check_kind(&fs::metadata(path)?, pipes, geteuid().as_raw())?;
    let mut options = OpenOptions::new();
    options.read(true);
    let mut file = match kind {
        // The file may have been replaced with a pipe in the meantime.
        Kind::Regular => open_regular(&mut options, path)?,
        Kind::Pipe => options.open(path)?,
    };
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    Ok(text)
}

/// Opens or creates a file. Fails without waiting if the file is not regular.
pub fn open_regular(options: &mut OpenOptions, path: &Path) -> Result<File, ReadFileError> {
    open_with(options, path, OFlags::empty())
}

/// Opens or creates a file of this program. Fails without waiting if the file is not regular, or if its name is a symbolic
/// link: a command that root runs must not create a file elsewhere.
pub fn open_own(options: &mut OpenOptions, path: &Path) -> Result<File, ReadFileError> {
    open_with(options, path, OFlags::NOFOLLOW)
}

fn open_with(options: &mut OpenOptions, path: &Path, flags: OFlags) -> Result<File, ReadFileError> {
    // Without `NONBLOCK`, opening a pipe waits for the program at its other end. Regular files ignore the flag.
    let flags = (flags | OFlags::NONBLOCK).bits().cast_signed();
    let file = options.custom_flags(flags).open(path)?;
    check_kind(&file.metadata()?, Pipes::Rejected, geteuid().as_raw())?;
    Ok(file)
}

/// Gives a file that root has created to the owner of the database, or of its folder if there is no database. Otherwise, a
/// server that runs as that user could not open the file. Does nothing if this process is not root.
pub fn give_to_owner_of(database: &Path, file: &File) -> io::Result<()> {
    if geteuid().as_raw() != ROOT {
        return Ok(());
    }
    let folder = database.parent().filter(|folder| !folder.as_os_str().is_empty());
    let owner = fs::metadata(database).or_else(|_| fs::metadata(folder.unwrap_or(Path::new("."))))?;
    fchown(file, Some(owner.uid()), Some(owner.gid()))
}

/// Returns the paths of a database and of the files that SQLite keeps next to it.
pub fn database_files(path: &Path) -> impl Iterator<Item = PathBuf> {
    ["", "-wal", "-shm", "-journal"]
        .map(|ending| PathBuf::from([path.as_os_str(), ending.as_ref()].join("".as_ref())))
        .into_iter()
}

/// Checks a file, or the file that a symbolic link leads to. A file that does not exist passes.
fn check_file(path: &Path, identity: &Identity, pipes: Pipes) -> Result<(), OpenError> {
    let Some(file) = metadata(path)? else { return Ok(()) };
    let owner = Owner::from(&file);
    let checked = check_kind(&file, pipes, identity.uid).and_then(|_| judge(&owner, identity));
    checked.map_err(|source| OpenError::FileAccess {
        path: path.to_owned(),
        source,
    })?;
    if owner.mode & OTHERS_CAN_READ_OR_WRITE != 0 {
        log::warn!(
            "other users of this machine can access the file {}: run `chmod o=` on it",
            path.display()
        );
    }
    Ok(())
}

/// Returns the folder of a file and, if the file is a symbolic link, the folder of the link's target.
fn folders_of(path: &Path) -> impl Iterator<Item = PathBuf> {
    let folder = |path: &Path| match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    };
    let is_link = fs::symlink_metadata(path).is_ok_and(|file| file.is_symlink());
    // A link that leads nowhere is reported when the file is opened.
    let target = is_link.then(|| fs::canonicalize(path).ok()).flatten();
    [Some(folder(path)), target.as_deref().map(folder)]
        .into_iter()
        .flatten()
}

/// Warns about a folder in which a stranger can replace files.
fn check_folder(path: &Path, identity: &Identity) -> Result<(), OpenError> {
    let Some(folder) = metadata(path)? else { return Ok(()) };
    let owner = Owner::from(&folder);
    let path = path.display();
    if owner.mode & OTHERS_CAN_WRITE != 0 {
        log::warn!("other users of this machine can replace files in the folder {path}: run `chmod o-w` on it");
    }
    if identity.is_foreign(&owner) {
        let Owner { uid, .. } = owner;
        log::warn!(
            "another user (uid {uid}) can replace files in the folder {path}: run `chown {}` on it",
            identity.uid
        );
    }
    Ok(())
}

/// Returns the metadata at the end of symbolic links, or `None` if there is no such file.
fn metadata(path: &Path) -> Result<Option<Metadata>, OpenError> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(OpenError::File {
            path: path.to_owned(),
            source,
        }),
    }
}

/// The kinds of files that the program reads.
enum Kind {
    Regular,
    Pipe,
}

/// Returns the kind of a file, or fails if such a file must not be opened. `own` is the user of this process.
fn check_kind(file: &Metadata, pipes: Pipes, own: u32) -> Result<Kind, FileAccessError> {
    let kind = file.file_type();
    let uid = file.uid();
    match describe(file) {
        None => Ok(Kind::Regular),
        Some(_) if kind.is_fifo() && pipes == Pipes::OwnAccepted => {
            // A group gives no access here: only the owner of a pipe must be able to delay the start.
            if [own, ROOT].contains(&uid) {
                Ok(Kind::Pipe)
            } else {
                Err(FileAccessError::ForeignPipe { uid })
            }
        }
        Some(what) => Err(FileAccessError::NotRegular(what)),
    }
}

/// Describes a file that is not regular, or returns `None` for a regular file.
pub fn describe(file: &Metadata) -> Option<&'static str> {
    let kind = file.file_type();
    match kind {
        _ if kind.is_file() => None,
        _ if kind.is_dir() => Some("a directory"),
        _ if kind.is_fifo() => Some("a pipe"),
        _ => Some("a device or a socket"),
    }
}

fn judge(owner: &Owner, identity: &Identity) -> Result<(), FileAccessError> {
    if owner.mode & OTHERS_CAN_WRITE != 0 {
        return Err(FileAccessError::OthersCanWrite);
    }
    if identity.is_foreign(owner) {
        let (uid, gid, own) = (owner.uid, owner.gid, identity.uid);
        return Err(FileAccessError::ForeignOwner { uid, gid, own });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_rejected_only_if_a_stranger_could_have_written_it() {
        let identity = Identity {
            uid: 1000,
            gids: vec![1000, 2000],
        };
        let foreign = Err(FileAccessError::ForeignOwner {
            uid: 1001,
            gid: 1001,
            own: 1000,
        });
        for (uid, gid, mode, expected) in [
            (1000, 1000, 0o600, Ok(())),
            (1000, 1001, 0o644, Ok(())),
            (1000, 1000, 0o660, Ok(())),
            (1000, 1000, 0o602, Err(FileAccessError::OthersCanWrite)),
            (0, 0, 0o644, Ok(())),
            (0, 0, 0o666, Err(FileAccessError::OthersCanWrite)),
            (1001, 2000, 0o660, Ok(())),
            (1001, 1001, 0o644, foreign),
        ] {
            let owner = Owner { uid, gid, mode };
            assert_eq!(judge(&owner, &identity), expected, "{uid}:{gid} {mode:o}");
        }
    }
}
