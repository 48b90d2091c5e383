//! Kinds of keys.

use crate::error::{Error, Kind};
use rcgen::{KeyPair, PublicKeyData, SignatureAlgorithm, SigningKey};
use std::fmt;
use zeroize::Zeroize;

/// The kind of a key pair. The key of an [`Authority`](crate::tls::Authority) and of what it signs are of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyAlgorithm {
    /// ECDSA on P-256: the default, which everything understands.
    #[default]
    EcdsaP256,
    /// ECDSA on P-384.
    EcdsaP384,
    /// ECDSA on P-521, as go-plugin makes them. With the feature `aws-lc` only. BoringSSL, and so gRPC's C core (Python, C++,
    /// Ruby), refuses such certificates.
    EcdsaP521,
    /// Ed25519. BoringSSL refuses such certificates too.
    Ed25519,
    /// RSA with 2048 bits. With the feature `aws-lc` only: ring does not make RSA keys.
    Rsa2048,
}

impl KeyAlgorithm {
    fn signs_with(self) -> Option<&'static SignatureAlgorithm> {
        match self {
            Self::EcdsaP256 => Some(&rcgen::PKCS_ECDSA_P256_SHA256),
            Self::EcdsaP384 => Some(&rcgen::PKCS_ECDSA_P384_SHA384),
            #[cfg(feature = "aws-lc")]
            Self::EcdsaP521 => Some(&rcgen::PKCS_ECDSA_P521_SHA512),
            #[cfg(not(feature = "aws-lc"))]
            Self::EcdsaP521 => None,
            Self::Ed25519 => Some(&rcgen::PKCS_ED25519),
            // Another crate may have enabled rcgen's other provider, whose keys this one's rustls cannot promise to take.
            Self::Rsa2048 if cfg!(feature = "aws-lc") => Some(&rcgen::PKCS_RSA_SHA256),
            Self::Rsa2048 => None,
        }
    }

    /// A new key of this kind.
    pub(super) fn generate(self) -> Result<Key, Error> {
        let unavailable = || {
            let text = format!(
                "{self} keys cannot be made by this build's provider; enable the feature `aws-lc`"
            );
            Error::new(Kind::Config, text)
        };
        let algorithm = self.signs_with().ok_or_else(unavailable)?;
        let pair = KeyPair::generate_for(algorithm);
        Ok(Key(pair.map_err(|error| unavailable().caused_by(error))?))
    }
}

impl fmt::Display for KeyAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EcdsaP256 => "ECDSA P-256",
            Self::EcdsaP384 => "ECDSA P-384",
            Self::EcdsaP521 => "ECDSA P-521",
            Self::Ed25519 => "Ed25519",
            Self::Rsa2048 => "RSA 2048",
        })
    }
}

/// A key pair whose bytes are wiped when it is dropped.
pub(super) struct Key(KeyPair);

impl Key {
    /// PKCS #8 in its first version, which everything reads.
    pub(super) fn der(&self) -> Vec<u8> {
        let der = self.0.serialized_der();
        let parts = der.split_at_checked(ED25519_V2.len());
        let seed = parts.and_then(|(start, rest)| {
            let is_v2 = start[2..] == ED25519_V2[2..];
            rest.get(..32).filter(|_| is_v2)
        });
        match seed {
            Some(seed) => [&ED25519_V1, seed].concat(),
            None => der.to_vec(),
        }
    }
}

/// How an Ed25519 key begins in PKCS #8 ([RFC 8410](https://www.rfc-editor.org/rfc/rfc8410#section-7)), up to its 32 bytes.
const ED25519_V1: [u8; 16] = *b"\x30\x2e\x02\x01\0\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20";
/// The same in the second version, as providers write it: the public key follows. OpenSSL does not read that. Its second
/// byte is the length of it all.
const ED25519_V2: [u8; 16] = *b"\x30\0\x02\x01\x01\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20";

impl Drop for Key {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl PublicKeyData for Key {
    fn der_bytes(&self) -> &[u8] {
        self.0.der_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        PublicKeyData::algorithm(&self.0)
    }
}

impl SigningKey for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.0.sign(message)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}
