//! Durations as Istio writes them.

use std::time::Duration;

/// A text that is no duration.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidDuration {
    /// Not numbers with units.
    #[error("is not a duration")]
    Syntax,
    /// Below zero.
    #[error("must not be negative")]
    Negative,
    /// More than ten thousand years, as the protobuf type allows at most.
    #[error("is too long")]
    TooLong,
}

const MAX_SECONDS: u64 = 315_576_000_000;

/// Reads `1h30m`, `3s`, `0.5s`, `100ms`.
///
/// # Errors
/// When the text is none of these, is negative, or too long.
pub fn parse(text: &str) -> Result<Duration, InvalidDuration> {
    if text.starts_with('-') {
        return Err(InvalidDuration::Negative);
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(InvalidDuration::Syntax);
    }
    let mut nanos: u128 = 0;
    while !rest.is_empty() {
        let (part, tail) = part(rest).ok_or(InvalidDuration::Syntax)?;
        nanos = nanos.saturating_add(part);
        rest = tail;
    }
    let seconds = u64::try_from(nanos / 1_000_000_000).unwrap_or(u64::MAX);
    if seconds > MAX_SECONDS {
        return Err(InvalidDuration::TooLong);
    }
    Ok(Duration::new(seconds, (nanos % 1_000_000_000) as u32))
}

/// One number with its unit, in nanoseconds.
fn part(text: &str) -> Option<(u128, &str)> {
    let number_end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, rest) = text.split_at(number_end);
    let unit_end = rest
        .find(|c: char| c.is_ascii_digit() || c == '.')
        .unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(unit_end);
    let scale: u128 = match unit {
        "h" => 3_600_000_000_000,
        "m" => 60_000_000_000,
        "s" => 1_000_000_000,
        "ms" => 1_000_000,
        "us" | "µs" | "μs" => 1_000,
        "ns" => 1,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    Some((
        digits(whole)?.checked_mul(scale)? + fraction_of(fraction, scale),
        rest,
    ))
}

fn digits(text: &str) -> Option<u128> {
    if text.is_empty() {
        return Some(0);
    }
    // 18 digits of hours still fit; longer is too long anyway.
    (text.len() <= 18).then(|| text.parse().ok())?
}

fn fraction_of(text: &str, scale: u128) -> u128 {
    let mut unit = scale;
    text.bytes().fold(0, |sum, digit| {
        unit /= 10;
        sum + u128::from(digit - b'0') * unit
    })
}

/// Writes a duration as short as it reads: `1h30m`, `500ms`.
pub fn display(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let millis = duration.subsec_millis();
    let mut text = String::new();
    let mut push = |count: u64, unit: &str| {
        if count > 0 {
            text.push_str(&format!("{count}{unit}"));
        }
    };
    push(hours, "h");
    push(minutes, "m");
    push(rest, "s");
    push(millis.into(), "ms");
    if text.is_empty() {
        "0s".to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_a_duration() {
        let cases = [
            ("1h30m", Ok(5_400_000)),
            ("3s", Ok(3_000)),
            ("0.5s", Ok(500)),
            (".5s", Ok(500)),
            ("1.s", Ok(1_000)),
            ("100ms", Ok(100)),
            ("1m2s3ms", Ok(62_003)),
            ("0s", Ok(0)),
            ("0", Ok(0)),
            ("", Err(InvalidDuration::Syntax)),
            ("5", Err(InvalidDuration::Syntax)),
            ("s", Err(InvalidDuration::Syntax)),
            (".s", Err(InvalidDuration::Syntax)),
            ("1.2.3s", Err(InvalidDuration::Syntax)),
            ("3 s", Err(InvalidDuration::Syntax)),
            ("3d", Err(InvalidDuration::Syntax)),
            ("-1s", Err(InvalidDuration::Negative)),
            ("99999999999999999h", Err(InvalidDuration::TooLong)),
        ];
        for (text, want) in cases {
            assert_eq!(parse(text), want.map(Duration::from_millis), "{text}");
        }
    }

    #[test]
    fn fractions_below_a_millisecond_are_kept_to_be_refused() {
        assert_eq!(parse("1.5ms"), Ok(Duration::from_micros(1_500)));
        assert_eq!(parse("10us"), Ok(Duration::from_micros(10)));
    }

    #[test]
    fn writes_what_it_reads() {
        for text in ["1h30m", "3s", "500ms", "1m2s3ms", "0s"] {
            assert_eq!(display(parse(text).unwrap()), text);
        }
    }
}
