//! The `grpc-timeout` header.
//!
//! [gRPC over HTTP/2](https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#requests): at most eight digits
//! and a unit, `H`, `M`, `S`, `m`, `u` or `n`.

use http::{HeaderMap, HeaderName, HeaderValue};
use std::time::Duration;

pub(crate) const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// The largest value that eight digits hold.
const MOST: u128 = 99_999_999;

/// The timeout of a call. A header that is not one counts as none, as gRPC's own servers have it.
pub(crate) fn read(headers: &HeaderMap) -> Option<Duration> {
    parse(headers.get(GRPC_TIMEOUT)?.to_str().ok()?)
}

fn parse(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

/// The header for a timeout, in the finest unit whose eight digits hold it. Never more than was asked.
pub(crate) fn write(timeout: Duration) -> HeaderValue {
    let nanos = timeout.as_nanos();
    let units = [
        ('n', 1),
        ('u', 1_000),
        ('m', 1_000_000),
        ('S', 1_000_000_000),
    ];
    let long = [('M', 60_000_000_000), ('H', 3_600_000_000_000)];
    let fitting = units
        .into_iter()
        .chain(long)
        .find(|(_, size)| nanos / size <= MOST);
    let (unit, number) = fitting.map_or(('H', MOST), |(unit, size)| (unit, nanos / size));
    HeaderValue::try_from(format!("{number}{unit}"))
        .expect("digits and a letter are a header value")
}

#[cfg(test)]
mod tests {
    use crate::wire::timeout::{parse, write};
    use std::time::Duration;

    #[test]
    fn every_unit_is_read_and_the_finest_that_fits_is_written() {
        let cases = [
            ("1n", Duration::from_nanos(1), "1n"),
            ("99999999n", Duration::from_nanos(99_999_999), "99999999n"),
            ("250m", Duration::from_millis(250), "250000u"),
            ("30S", Duration::from_secs(30), "30000000u"),
            ("2M", Duration::from_secs(120), "120000m"),
            ("3H", Duration::from_secs(10_800), "10800000m"),
        ];
        for (text, timeout, written) in cases {
            assert_eq!(parse(text), Some(timeout), "{text}");
            assert_eq!(write(timeout), written, "{text}");
        }
        assert_eq!(write(Duration::MAX), "99999999H");
        assert_eq!(write(Duration::ZERO), "0n");
    }

    #[test]
    fn a_malformed_timeout_is_none() {
        for text in [
            "",
            "S",
            "1",
            "1s",
            "123456789S",
            "-1S",
            "+1S",
            "1.5S",
            "1SS",
            "é",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
