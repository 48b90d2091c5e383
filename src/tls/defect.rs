//! What can be wrong with a certificate.

use std::fmt;

/// What is wrong with a deliberately bad identity, as
/// [`Authority::server_with`](crate::tls::Authority::server_with) and
/// [`client_with`](crate::tls::Authority::client_with) mint them. All else about it is right.
///
/// ```
/// use rpcplugin_testkit::tls::{Authority, Defect};
///
/// let authority = Authority::new();
/// for defect in Defect::ALL {
///     println!("{defect}: {:?}", authority.server_with(defect));
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Defect {
    /// Its time was over a day ago.
    Expired,
    /// Its time begins in a day.
    NotYetValid,
    /// A server's names `wrong.example`, and nothing else. A client's has the common name `wrong.example`; TLS itself does not
    /// look at the names of clients, so a server takes it, and whoever looks at
    /// [`Call::client_certificate`](crate::Call::client_certificate) does not.
    WrongName,
    /// Another authority signed it, which nobody trusts.
    OtherAuthority,
    /// Its key is for signing code, not for servers or clients.
    WrongUsage,
    /// The key that comes with it is not the certificate's.
    WrongKey,
    /// It signed itself, and says that it is an authority: what go-plugin's
    /// [AutoMTLS](https://github.com/hashicorp/go-plugin/blob/main/mtls.go) makes. Right for whoever
    /// [pins](crate::client::ClientTls::pinned) it, and wrong for all others. [`Identity::auto_mtls`] makes one too.
    ///
    /// [`Identity::auto_mtls`]: crate::tls::Identity::auto_mtls
    SelfSigned,
}

impl Defect {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Expired,
        Self::NotYetValid,
        Self::WrongName,
        Self::OtherAuthority,
        Self::WrongUsage,
        Self::WrongKey,
        Self::SelfSigned,
    ];
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Expired => "expired",
            Self::NotYetValid => "not yet valid",
            Self::WrongName => "for another name",
            Self::OtherAuthority => "signed by another authority",
            Self::WrongUsage => "for another use",
            Self::WrongKey => "without its own key",
            Self::SelfSigned => "self-signed, as by AutoMTLS",
        })
    }
}
