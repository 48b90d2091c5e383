//! PEM text: certificates and private keys.

use crate::error::{Error, Kind};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use std::{fmt, fs, path::Path};
use zeroize::Zeroizing;

/// PEM text: a certificate chain, a private key, or both.
///
/// `Debug` shows what kinds of block it has, never their content, and the text is wiped from memory when it is dropped.
///
/// ```
/// use rpcplugin_testkit::tls::Pem;
///
/// let pem = Pem::parse("-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n").unwrap();
/// assert_eq!(format!("{pem:?}"), "Pem(PRIVATE KEY)");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Pem(Zeroizing<String>);

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";

impl Pem {
    /// Takes text with at least one PEM block, all of them complete.
    ///
    /// `None` for any other text. The content of the blocks is not decoded here.
    #[must_use]
    pub fn parse(text: impl Into<String>) -> Option<Self> {
        let mut text = Zeroizing::new(text.into());
        // Some editors begin a file with a mark of its byte order.
        if text.starts_with('\u{feff}') {
            text.drain(..'\u{feff}'.len_utf8());
        }
        let pem = Self(text);
        let mut open = None;
        let mut blocks = 0;
        for line in pem.0.lines().map(str::trim) {
            match (label(line, BEGIN), label(line, END)) {
                (Some(begun), _) if open.is_none() => open = Some(begun),
                (_, Some(ended)) if open == Some(ended) => {
                    open = None;
                    blocks += 1;
                }
                (None, None) => {}
                // A block within a block, or an end without its beginning.
                _ => return None,
            }
        }
        let complete = blocks > 0 && open.is_none();
        complete.then_some(pem)
    }

    /// Reads a PEM file.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or has no complete block.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let text = fs::read_to_string(path).map_err(|error| {
            let text = format!("cannot read `{}`", path.display());
            Error::new(Kind::Config, text).caused_by(error)
        })?;
        Self::parse(text).ok_or_else(|| {
            let text = format!("the file `{}` has no complete PEM block", path.display());
            Error::new(Kind::Config, text)
        })
    }

    /// Blocks of this label with these contents.
    pub(super) fn encode<'a>(label: &str, blocks: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let blocks: Vec<&[u8]> = blocks.into_iter().collect();
        let length: usize = blocks.iter().map(|block| block.len() * 3 / 2 + 128).sum();
        // A text that grows leaves copies behind that nobody wipes.
        let mut text = Zeroizing::new(String::with_capacity(length));
        for block in blocks {
            let encoded = Zeroizing::new(BASE64_STANDARD.encode(block));
            *text += &format!("{BEGIN}{label}{DASHES}\n");
            let mut rest = encoded.as_str();
            while !rest.is_empty() {
                let (line, after) = rest.split_at(rest.len().min(64));
                *text += line;
                *text += "\n";
                rest = after;
            }
            *text += &format!("{END}{label}{DASHES}\n");
        }
        Self(text)
    }

    /// The text itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The certificates in it, in their order. `Err` with what is wrong.
    pub(super) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, String> {
        let decoded = CertificateDer::pem_slice_iter(self.0.as_bytes());
        let decoded: Result<Vec<_>, _> = decoded.collect();
        match decoded {
            Ok(certificates) if certificates.is_empty() => {
                Err("it has no block `CERTIFICATE`".to_owned())
            }
            decoded => decoded.map_err(|error| format!("it cannot be decoded: {error:?}")),
        }
    }

    /// The first private key in it.
    pub(super) fn private_key(&self) -> Result<PrivateKeyDer<'static>, String> {
        if self.has("ENCRYPTED PRIVATE KEY") {
            return Err("it is encrypted, which is not supported".to_owned());
        }
        // What the error says may be a part of the key.
        PrivateKeyDer::from_pem_slice(self.0.as_bytes())
            .map_err(|_| "it has no private key that can be decoded".to_owned())
    }

    /// Whether some block has a label that ends so: `CERTIFICATE`, `PRIVATE KEY`.
    pub(crate) fn has(&self, label: &str) -> bool {
        self.labels().any(|found| found.ends_with(label))
    }

    fn labels(&self) -> impl Iterator<Item = &str> {
        let lines = self.0.lines().map(str::trim);
        lines.filter_map(|line| label(line, BEGIN))
    }
}

/// The label of a line such as `-----BEGIN CERTIFICATE-----`.
fn label<'a>(line: &'a str, kind: &str) -> Option<&'a str> {
    line.strip_prefix(kind)?.strip_suffix(DASHES)
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pem({})", self.labels().collect::<Vec<_>>().join(", "))
    }
}
