//! The parameters of a request (pure).

use percent_encoding::percent_decode_str;
use std::time::Duration;

/// The parameters, decoded, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Query(Vec<(String, String)>);

/// How long an agent waits if it is not told, and at most.
const USUAL_WAIT: Duration = Duration::from_secs(5 * 60);
const LONGEST_WAIT: Duration = Duration::from_secs(10 * 60);

pub(super) fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

impl Query {
    pub(super) fn parse(text: Option<&str>) -> Self {
        let pairs = text.unwrap_or_default().split('&');
        let pairs = pairs.filter(|pair| !pair.is_empty()).map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let plain = |text: &str| decoded(&text.replace('+', " "));
            (plain(key), plain(value))
        });
        Self(pairs.collect())
    }

    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let found = self.0.iter().filter(move |(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    pub(super) fn first(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// Without what nobody should see.
    pub(super) fn shown(&self) -> Vec<(String, String)> {
        let mut shown = self.0.clone();
        shown.retain(|(key, _)| key != "token");
        shown
    }

    /// A switch, which Consul takes for on with any value but `false` and `0`.
    pub(super) fn is_on(&self, name: &str) -> bool {
        self.first(name)
            .is_some_and(|value| !["false", "0"].contains(&value))
    }

    /// The index to wait beyond; `None` for a question that does not wait.
    pub(super) fn index(&self) -> Result<Option<u64>, String> {
        match self.first("index").filter(|text| !text.is_empty()) {
            None => Ok(None),
            Some(text) => match text.parse() {
                Ok(index) => Ok((index > 0).then_some(index)),
                Err(_) => Err("Invalid index".to_owned()),
            },
        }
    }

    pub(super) fn wait(&self) -> Result<Duration, String> {
        match self.first("wait").filter(|text| !text.is_empty()) {
            None => Ok(USUAL_WAIT),
            Some(text) => match duration(text) {
                None => Err("Invalid wait time".to_owned()),
                Some(Duration::ZERO) => Ok(USUAL_WAIT),
                Some(wait) => Ok(wait.min(LONGEST_WAIT)),
            },
        }
    }
}

/// A duration as Go writes it: `1m30s`, `250ms`, `1.5h`.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (value, unit) = rest.split_at(number);
        let end = unit
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(unit.len());
        let (unit, more) = unit.split_at(end);
        let unit = match unit {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        seconds += value.parse::<f64>().ok()? * unit;
        rest = more;
    }
    (!text.trim().is_empty())
        .then(|| Duration::try_from_secs_f64(seconds).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use crate::mock::consul::query::{Query, duration};
    use std::time::Duration;

    #[test]
    fn parameters_are_decoded() {
        let query = Query::parse(Some(
            "passing&filter=a%20%3D%3D+b&tag=x&tag=y&stale=false&token=t",
        ));
        assert_eq!(query.first("filter"), Some("a == b"));
        assert_eq!(query.all("tag").collect::<Vec<_>>(), ["x", "y"]);
        assert!(query.is_on("passing") && !query.is_on("stale") && !query.is_on("near"));
        assert!(query.shown().iter().all(|(key, _)| key != "token"));
    }

    #[test]
    fn waits_are_those_of_consul() {
        let wait = |text: &str| Query::parse(Some(text)).wait();
        let seconds = |n| Ok(Duration::from_secs(n));
        assert_eq!(wait(""), seconds(300));
        assert_eq!(wait("wait=30s"), seconds(30));
        assert_eq!(wait("wait=0"), seconds(300));
        assert_eq!(wait("wait=2h"), seconds(600));
        assert_eq!(wait("wait=x"), Err("Invalid wait time".to_owned()));
        let index = |text: &str| Query::parse(Some(text)).index();
        assert_eq!(index("index=0"), Ok(None));
        assert_eq!(index("index=7"), Ok(Some(7)));
        assert_eq!(index("index=-1"), Err("Invalid index".to_owned()));
    }

    #[test]
    fn durations_are_those_of_go() {
        let table = [
            ("1m30s", Some(90_000)),
            ("250ms", Some(250)),
            ("1.5h", Some(5_400_000)),
            ("0", Some(0)),
            ("10", None),
            ("s", None),
            ("", None),
            ("-5s", None),
            ("5 s", None),
        ];
        for (text, expected) in table {
            assert_eq!(
                duration(text),
                expected.map(Duration::from_millis),
                "{text}"
            );
        }
    }
}
