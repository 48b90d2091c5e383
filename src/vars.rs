//! Variables of the environment, or of whatever else has a value for a name.

use crate::error::{Error, Kind};
use std::env;

/// Variables by their names, which may have a prefix. An empty one counts as unset.
pub(crate) struct Vars<'a, F> {
    pub(crate) prefix: &'a str,
    pub(crate) source: F,
}

impl<F: Fn(&str) -> Result<Option<String>, Error>> Vars<'_, F> {
    pub(crate) fn name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    pub(crate) fn value(&self, name: &str) -> Result<Option<String>, Error> {
        let value = (self.source)(&self.name(name))?;
        Ok(value.filter(|value| !value.trim().is_empty()))
    }

    pub(crate) fn parse<T>(
        &self,
        name: &str,
        allowed: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let Some(value) = self.value(name)? else {
            return Ok(None);
        };
        let parsed = parse(value.trim());
        parsed.map(Some).ok_or_else(|| {
            let text = format!("{} is `{value}`, expected {allowed}", self.name(name));
            Error::new(Kind::Config, text)
        })
    }
}

/// A variable of this process.
pub(crate) fn of_process(name: &str) -> Result<Option<String>, Error> {
    match env::var(name) {
        Ok(value) => Ok(Some(value)),
        Err(env::VarError::NotPresent) => Ok(None),
        Err(env::VarError::NotUnicode(_)) => Err(Error::new(
            Kind::Config,
            format!("{name} is not valid UTF-8"),
        )),
    }
}
