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

/// Coarser units are used for numbers that are no smaller than this.
const PRECISION: u128 = 1000;

/// The header for a timeout, at most a thousandth less than was asked, and never more.
///
/// No finer than that: what is left of the same timeout is the same text for most calls then, which HPACK sends as a byte.
/// A text that is always another would be added to both sides' tables by every call.
pub(crate) fn write(timeout: Duration) -> HeaderValue {
    let nanos = timeout.as_nanos();
    let units = [
        (b'H', 3_600_000_000_000),
        (b'M', 60_000_000_000),
        (b'S', 1_000_000_000),
        (b'm', 1_000_000),
        (b'u', 1_000),
    ];
    let fitting = units
        .into_iter()
        .find(|(_, size)| nanos / size >= PRECISION);
    let (unit, size) = fitting.unwrap_or((b'n', 1));
    let mut left = (nanos / size).min(MOST) as u32;
    // From the end: the unit, and at most eight digits before it.
    let mut text = [unit; 9];
    let mut begin = text.len() - 1;
    loop {
        begin -= 1;
        text[begin] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    HeaderValue::from_bytes(&text[begin..]).expect("digits and a letter are a header value")
}

#[cfg(test)]
mod tests {
    use crate::wire::timeout::{parse, write};
    use std::time::Duration;

    #[test]
    fn every_unit_is_read_and_the_coarsest_that_is_precise_is_written() {
        let cases = [
            ("1n", Duration::from_nanos(1), "1n"),
            ("999999n", Duration::from_nanos(999_999), "999999n"),
            ("250m", Duration::from_millis(250), "250000u"),
            ("30S", Duration::from_secs(30), "30000m"),
            ("2M", Duration::from_secs(120), "120000m"),
            ("3H", Duration::from_secs(10_800), "10800S"),
            ("2000M", Duration::from_secs(120_000), "2000M"),
            ("1000H", Duration::from_secs(3_600_000), "1000H"),
        ];
        for (text, timeout, written) in cases {
            assert_eq!(parse(text), Some(timeout), "{text}");
            assert_eq!(write(timeout), written, "{text}");
        }
        assert_eq!(write(Duration::from_micros(4_999_999)), "4999m");
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
