//! An identity in files, for whoever wants paths.

use crate::error::{Error, Kind};
use crate::tls::identity::Identity;
use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
};
use tempfile::TempDir;

/// An [`Identity`] as PEM files in a private temporary directory, which is removed when this is dropped.
///
/// ```
/// use rpcplugin_testkit::{ClientTls, tls::Authority};
///
/// let authority = Authority::new();
/// let files = authority.client("worker-1").files().unwrap();
/// let tls = ClientTls::new().roots_file(files.ca()).identity_files(files.cert(), files.key());
/// ```
#[derive(Debug)]
#[must_use = "the files are removed when this is dropped"]
pub struct IdentityFiles {
    dir: TempDir,
}

const CERT: &str = "cert.pem";
const KEY: &str = "key.pem";
const CA: &str = "ca.pem";

impl IdentityFiles {
    pub(super) fn write(identity: &Identity) -> Result<Self, Error> {
        let mut builder = tempfile::Builder::new();
        builder.prefix("rpcplugin-tls-");
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
        let dir = builder.tempdir().map_err(|error| {
            Error::new(
                Kind::Config,
                "cannot make a temporary directory for certificates",
            )
            .caused_by(error)
        })?;
        let files = Self { dir };
        files.replace(identity)?;
        Ok(files)
    }

    /// Writes another identity over the files, each by a rename, so that no reader sees half of one.
    ///
    /// # Errors
    ///
    /// When a file cannot be written.
    pub fn replace(&self, identity: &Identity) -> Result<(), Error> {
        let key = identity.key_pem();
        let (chain, root) = (identity.chain_pem(), identity.root().pem());
        let texts = [(KEY, key.as_str()), (CERT, &chain), (CA, &root)];
        for (name, text) in texts {
            let path = self.dir.path().join(name);
            write_private(&path, text.as_bytes()).map_err(|error| {
                let text = format!("cannot write `{}`", path.display());
                Error::new(Kind::Config, text).caused_by(error)
            })?;
        }
        Ok(())
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The certificate chain, without its root.
    #[must_use]
    pub fn cert(&self) -> PathBuf {
        self.dir.path().join(CERT)
    }

    /// The private key, which only its owner can read (mode 0600).
    #[must_use]
    pub fn key(&self) -> PathBuf {
        self.dir.path().join(KEY)
    }

    /// The root certificate that the chain leads to.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.dir.path().join(CA)
    }
}

/// Temporary files have mode 0600 on Unix, and it stays theirs.
fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let dir = path.parent().unwrap_or_else(|| Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    file.write_all(bytes)?;
    file.persist(path)?;
    Ok(())
}
