//! Who may see and register what (pure).

use std::{
    collections::{HashMap, HashSet},
    fmt,
};

/// The tokens that an agent knows.
#[derive(Default)]
pub(super) struct Tokens {
    /// Whether anybody needs one.
    pub(super) are_required: bool,
    /// The services that each is good for; `None` for all.
    known: HashMap<String, Option<HashSet<String>>>,
}

/// What a token is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Right {
    Granted,
    /// It is known, or there is none, and is not good for this.
    Missing,
    /// Nobody knows it.
    Unknown,
}

impl Tokens {
    /// Lets a token do everything with a service, or with all.
    pub(super) fn allow(&mut self, token: String, service: Option<String>) {
        match service {
            None => drop(self.known.insert(token, None)),
            Some(service) => {
                let known = self
                    .known
                    .entry(token)
                    .or_insert_with(|| Some(HashSet::new()));
                if let Some(services) = known {
                    services.insert(service);
                }
            }
        }
    }

    pub(super) fn revoke(&mut self, token: &str) {
        self.known.remove(token);
    }

    /// Whether this token is good for a service; `None` for what every known token may.
    pub(super) fn right(&self, token: Option<&str>, service: Option<&str>) -> Right {
        if !self.are_required {
            return Right::Granted;
        }
        let Some(token) = token.filter(|token| !token.is_empty()) else {
            return Right::Missing;
        };
        match (self.known.get(token), service) {
            (None, _) => Right::Unknown,
            (Some(None), _) | (Some(Some(_)), None) => Right::Granted,
            (Some(Some(services)), Some(service)) if services.contains(service) => Right::Granted,
            _ => Right::Missing,
        }
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tokens", self.known.len())
    }
}

#[cfg(test)]
mod tests {
    use crate::mock::consul::tokens::{Right, Tokens};

    #[test]
    fn a_token_is_good_for_what_it_was_allowed_until_it_is_revoked() {
        let mut tokens = Tokens::default();
        assert_eq!(tokens.right(Some("x"), Some("kv")), Right::Granted);
        tokens.are_required = true;
        tokens.allow("one".to_owned(), Some("kv".to_owned()));
        tokens.allow("all".to_owned(), None);
        let table = [
            (None, Some("kv"), Right::Missing),
            (Some(""), Some("kv"), Right::Missing),
            (Some("x"), Some("kv"), Right::Unknown),
            (Some("one"), Some("kv"), Right::Granted),
            (Some("one"), Some("other"), Right::Missing),
            (Some("one"), None, Right::Granted),
            (Some("all"), Some("other"), Right::Granted),
        ];
        for (token, service, right) in table {
            assert_eq!(tokens.right(token, service), right, "{token:?} {service:?}");
        }
        tokens.revoke("one");
        assert_eq!(tokens.right(Some("one"), Some("kv")), Right::Unknown);
        assert!(!format!("{tokens:?}").contains("all"));
    }
}
