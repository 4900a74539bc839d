//! The time of a line, formatted anew only once a second.

use jiff::Timestamp;
use std::cell::Cell;
use std::time::{SystemTime, UNIX_EPOCH};

/// `2020-11-25T21:26:18` and a dot.
const SECOND_LEN: usize = 20;

type Second = (u64, [u8; SECOND_LEN]);

/// Appends `2020-11-25T21:26:18.409Z`. A clock before 1970 counts as 1970.
pub(super) fn write(time: SystemTime, out: &mut Vec<u8>) {
    thread_local! {
        static LAST: Cell<Second> = Cell::new((0, format_second(0)));
    }
    let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let second = since_epoch.as_secs();
    let (last, mut text) = LAST.get();
    if last != second {
        text = format_second(second);
        LAST.set((second, text));
    }
    let millis = since_epoch.subsec_millis();
    let digit = |value: u32| b'0' + (value % 10) as u8;
    out.extend_from_slice(&text);
    out.extend_from_slice(&[digit(millis / 100), digit(millis / 10), digit(millis), b'Z']);
}

/// The first twenty characters; a year beyond 9999 is shown as the year 1970.
fn format_second(second: u64) -> [u8; SECOND_LEN] {
    let timestamp = i64::try_from(second)
        .ok()
        .and_then(|second| Timestamp::from_second(second).ok());
    let text = timestamp
        .unwrap_or_default()
        .strftime("%Y-%m-%dT%H:%M:%S.")
        .to_string();
    text.as_bytes()
        .try_into()
        .unwrap_or(*b"1970-01-01T00:00:00.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn is_iso_8601_in_milliseconds() {
        let cases = [
            (1_606_339_578_409, "2020-11-25T21:26:18.409Z"),
            (1_606_339_578_999, "2020-11-25T21:26:18.999Z"),
            (1_606_339_579_000, "2020-11-25T21:26:19.000Z"),
            (1_709_164_800_007, "2024-02-29T00:00:00.007Z"),
            (0, "1970-01-01T00:00:00.000Z"),
        ];
        for (millis, want) in cases {
            let mut out = Vec::new();
            write(UNIX_EPOCH + Duration::from_millis(millis), &mut out);
            assert_eq!(String::from_utf8_lossy(&out), want);
        }
    }
}
