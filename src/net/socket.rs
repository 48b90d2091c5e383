//! A Unix socket in a private temporary directory.

use std::{
    fs::Permissions,
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

/// The longest temporary directory in which a socket still fits a Unix path on every platform.
const LONGEST: usize = 80;

/// A directory only its owner can enter (0700), with room for one socket. It is removed on drop.
#[derive(Debug)]
pub(crate) struct SocketDir {
    dir: TempDir,
}

impl SocketDir {
    pub(crate) fn new() -> io::Result<Self> {
        // macOS has temporary directories of 50 bytes, and some CI machines have longer ones.
        let usual = std::env::temp_dir();
        let parent = if usual.as_os_str().len() > LONGEST {
            Path::new("/tmp")
        } else {
            &usual
        };
        let dir = tempfile::Builder::new()
            .prefix("rpc-")
            .rand_bytes(8)
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(parent)?;
        Ok(Self { dir })
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("s")
    }
}
