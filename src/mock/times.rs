//! How often a stub is expected to serve.

use std::{
    fmt,
    ops::{Range, RangeFrom, RangeFull, RangeInclusive, RangeTo, RangeToInclusive},
};

/// How many calls a stub expects, or how many messages: a number, or a range such as `1..`, `..=3` or `2..=4`, which convert into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    least: u64,
    most: u64,
}

impl Times {
    /// Whether a stub that serves no more than `limit` calls can have as many.
    pub(crate) fn is_possible(self, limit: u64) -> bool {
        self.least <= self.most.min(limit)
    }

    pub(crate) fn most(self) -> u64 {
        self.most
    }

    pub(crate) fn is_met(self, count: u64) -> bool {
        (self.least..=self.most).contains(&count)
    }

    /// `2 calls`: the most.
    pub(crate) fn calls(self) -> String {
        let s = if self.most == 1 { "" } else { "s" };
        format!("{} call{s}", self.most)
    }

    pub(crate) fn has_enough(self, count: u64) -> bool {
        count >= self.least
    }
}

impl From<u64> for Times {
    fn from(exactly: u64) -> Self {
        Self {
            least: exactly,
            most: exactly,
        }
    }
}

macro_rules! ranges {
    ($($range:ty: |$given:ident| $least:expr, $most:expr;)+) => {$(
        impl From<$range> for Times {
            fn from($given: $range) -> Self {
                Self { least: $least, most: $most }
            }
        }
    )+};
}

ranges! {
    Range<u64>: |range| range.start, range.end.saturating_sub(1);
    RangeFrom<u64>: |range| range.start, u64::MAX;
    RangeFull: |_range| 0, u64::MAX;
    RangeInclusive<u64>: |range| *range.start(), *range.end();
    RangeTo<u64>: |range| 0, range.end.saturating_sub(1);
    RangeToInclusive<u64>: |range| 0, range.end;
}

impl Times {
    /// `exactly 2 messages`, of what is counted.
    pub(crate) fn of(self, what: &str) -> String {
        let s = |n| if n == 1 { "" } else { "s" };
        match (self.least, self.most) {
            (0, 0) => format!("no {what}s"),
            (0, u64::MAX) => format!("any number of {what}s"),
            (least, u64::MAX) => format!("at least {least} {what}{}", s(least)),
            (0, most) => format!("at most {most} {what}{}", s(most)),
            (least, most) if least == most => format!("exactly {least} {what}{}", s(least)),
            (least, most) => format!("{least} to {most} {what}s"),
        }
    }
}

/// `exactly 2 calls`.
impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.of("call"))
    }
}

#[cfg(test)]
mod tests {
    use crate::mock::times::Times;

    #[test]
    fn numbers_and_ranges_are_told_in_words() {
        let cases: [(Times, &str); 9] = [
            (0.into(), "no calls"),
            (1.into(), "exactly 1 call"),
            (2.into(), "exactly 2 calls"),
            ((1..).into(), "at least 1 call"),
            ((..=3).into(), "at most 3 calls"),
            ((..3).into(), "at most 2 calls"),
            ((2..=4).into(), "2 to 4 calls"),
            ((2..4).into(), "2 to 3 calls"),
            ((..).into(), "any number of calls"),
        ];
        for (times, text) in cases {
            assert_eq!(times.to_string(), text);
        }
        assert!(Times::from(2..4).is_met(3) && !Times::from(2..4).is_met(4));
    }
}
