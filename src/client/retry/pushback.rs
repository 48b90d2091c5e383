//! What the server says about repeating a call.

use http::{HeaderMap, HeaderName};
use std::time::Duration;

/// A server's word on when the call may come again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushback {
    /// After exactly this time.
    After(Duration),
    /// Not at all.
    Never,
}

const KEY: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");

impl Pushback {
    /// [A6](https://github.com/grpc/proposal/blob/master/A6-client-retries.md#pushback): milliseconds, as a signed number of 32
    /// bits. Whatever else stands there, negative, malformed or repeated, means "do not".
    pub(crate) fn read(trailers: &HeaderMap) -> Option<Self> {
        let mut values = trailers.get_all(KEY).iter();
        let value = values.next()?;
        let text = value.to_str().ok().filter(|_| values.next().is_none());
        let millis = text.and_then(|text| text.parse::<i32>().ok());
        let millis = millis.and_then(|millis| u64::try_from(millis).ok());
        Some(millis.map_or(Self::Never, |millis| {
            Self::After(Duration::from_millis(millis))
        }))
    }
}

#[cfg(test)]
mod tests {
    use crate::client::retry::Pushback;
    use http::{HeaderMap, HeaderValue};
    use std::time::Duration;

    fn read(values: &[&'static [u8]]) -> Option<Pushback> {
        let mut trailers = HeaderMap::new();
        for value in values {
            let value = HeaderValue::from_bytes(value).unwrap();
            trailers.append("grpc-retry-pushback-ms", value);
        }
        Pushback::read(&trailers)
    }

    #[test]
    fn only_one_number_of_milliseconds_is_a_delay() {
        let after = |millis| Some(Pushback::After(Duration::from_millis(millis)));
        let cases: [(&[&'static [u8]], _); 12] = [
            (&[], None),
            (&[b"0"], after(0)),
            (&[b"250"], after(250)),
            (&[b"2147483647"], after(2_147_483_647)),
            (&[b"2147483648"], Some(Pushback::Never)),
            (&[b"-1"], Some(Pushback::Never)),
            (&[b""], Some(Pushback::Never)),
            (&[b"soon"], Some(Pushback::Never)),
            (&[b"1.5"], Some(Pushback::Never)),
            (&[b"10 ms"], Some(Pushback::Never)),
            (&[b"\xff"], Some(Pushback::Never)),
            (&[b"5", b"5"], Some(Pushback::Never)),
        ];
        for (values, expected) in cases {
            assert_eq!(read(values), expected, "{values:?}");
        }
    }
}
