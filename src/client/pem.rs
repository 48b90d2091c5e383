//! PEM text from memory, from a file, or from a `file://` URL.

use std::fmt;

/// PEM text: a certificate chain or a private key.
///
/// `Debug` shows what kinds of block it has, never their content.
///
/// ```
/// use rpcplugin_testkit::client::Pem;
///
/// let pem = Pem::parse("-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n").unwrap();
/// assert_eq!(format!("{pem:?}"), "Pem(PRIVATE KEY)");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Pem(String);

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";

impl Pem {
    /// Takes text with at least one PEM block, all of them complete.
    ///
    /// `None` for any other text. The content of the blocks is not decoded here.
    #[must_use]
    pub fn parse(text: impl Into<String>) -> Option<Self> {
        let pem = Self(text.into());
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
        (blocks > 0 && open.is_none()).then_some(pem)
    }

    /// The text itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
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
