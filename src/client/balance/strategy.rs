//! The strategies by their names.

use crate::error::{Error, Kind};
use std::{fmt, str::FromStr};

/// By what rule a client with several endpoints chooses one for each call.
///
/// Only endpoints that can take a call are chosen from: connected, healthy, not ejected. A call that is tried again goes
/// to an endpoint that it has not tried yet, while there is one.
///
/// A strategy is read from its name, as in a configuration: `first`, `least_request`, `random`, `round_robin`, `weighted`;
/// case does not matter, and `-` is as good as `_`.
///
/// ```
/// use rpcplugin_testkit::client::Strategy;
///
/// assert_eq!("round-robin".parse::<Strategy>()?, Strategy::RoundRobin);
/// assert_eq!(Strategy::LeastRequest.to_string(), "least_request");
/// assert_eq!(Strategy::default(), Strategy::Weighted);
///
/// let error = "weigthed".parse::<Strategy>().unwrap_err();
/// assert!(error.is_config());
/// # Ok::<(), rpcplugin_testkit::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Strategy {
    /// The first in the order in which they were given; the next while that one is down, and back again as soon as it is up.
    ///
    /// The order of gRPC's [`pick_first`](https://github.com/grpc/proposal/blob/master/A62-pick-first.md), with failback, which
    /// `pick_first` lacks.
    First,
    /// The less loaded of two that are drawn at random, as gRPC's
    /// [`least_request`](https://github.com/grpc/proposal/blob/master/A48-xds-least-request-lb-policy.md) with a choice count of
    /// 2; the two are never the same one.
    ///
    /// The load is the number of requests whose response has not ended, and for each request that failed a penalty of one
    /// more, which halves every second: who fails fast has nothing in flight, and would attract all calls.
    LeastRequest,
    /// Each with the same chance. The client's seed repeats the choices.
    Random,
    /// One after the other, whatever their weights.
    RoundRobin,
    /// One after the other, each as often as its weight says, smoothly: at no time is an endpoint more than one call away
    /// from its share of the calls so far. With equal weights that is `RoundRobin`.
    ///
    /// An endpoint of weight 0 takes calls only when there is no other one. Weights whose sum, by their greatest common divisor, is
    /// over 16,384 are rounded to that resolution, and never to 0.
    #[default]
    Weighted,
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::First => "first",
            Self::LeastRequest => "least_request",
            Self::Random => "random",
            Self::RoundRobin => "round_robin",
            Self::Weighted => "weighted",
        })
    }
}

impl FromStr for Strategy {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let name = text.to_ascii_lowercase().replace('-', "_");
        ALL.into_iter()
            .find(|strategy| strategy.to_string() == name)
            .ok_or_else(|| unknown(text))
    }
}

/// In the order in which they are listed to who misspelt one.
const ALL: [Strategy; 5] = [
    Strategy::First,
    Strategy::LeastRequest,
    Strategy::Random,
    Strategy::RoundRobin,
    Strategy::Weighted,
];

fn unknown(text: &str) -> Error {
    let [names @ .., last] = ALL.map(|strategy| format!("`{strategy}`"));
    let names = names.join(", ");
    Error::new(
        Kind::Config,
        format!("`{text}` is no strategy, expected {names} or {last}"),
    )
}

#[cfg(test)]
mod tests {
    use crate::client::balance::{Strategy, strategy::ALL};

    #[test]
    fn a_strategy_is_read_from_its_name_however_it_is_spelt() {
        for strategy in ALL {
            let name = strategy.to_string();
            let spelt = [
                name.clone(),
                name.to_uppercase(),
                name.replace('_', "-"),
                name.to_uppercase().replace('_', "-"),
            ];
            for text in spelt {
                assert_eq!(text.parse::<Strategy>().unwrap(), strategy, "{text}");
            }
        }
    }

    #[test]
    fn an_unknown_name_is_told_with_those_that_are_known() {
        for text in ["weigthed", "", "roundrobin", " first", "first,random"] {
            let error = text.parse::<Strategy>().unwrap_err();
            assert!(error.is_config(), "{error:?}");
            assert_eq!(
                error.to_string(),
                format!(
                    "`{text}` is no strategy, expected `first`, `least_request`, `random`, `round_robin` or `weighted`"
                )
            );
        }
    }
}
