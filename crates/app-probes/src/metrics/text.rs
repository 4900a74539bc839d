//! The text format, version 0.0.4.

use super::sample::Sample;
use bytes::{BufMut, Bytes, BytesMut};

/// What a program that speaks OpenMetrics ends with, whatever it says that it speaks.
pub(super) const END: &str = "# EOF";

/// The same if all of its lines are of the format, with the end of its last line. The number of the first that is not,
/// from 1, otherwise: a scraper would refuse it together with everything else.
pub(super) fn checked(body: Bytes) -> Result<Bytes, usize> {
    let text = str::from_utf8(&body).map_err(|error| line_at(&body, error.valid_up_to()))?;
    let mut end = body.len();
    for (index, line) in text.lines().enumerate() {
        if line == END {
            end = line.as_ptr() as usize - text.as_ptr() as usize;
            break;
        }
        if !is_line(line) {
            return Err(index + 1);
        }
    }
    Ok(ended(body.slice(..end)))
}

fn is_line(line: &str) -> bool {
    if line.trim().is_empty() || line.starts_with('#') {
        return true;
    }
    Sample::parse(line).is_some_and(|sample| {
        let timestamp = sample
            .timestamp
            .is_none_or(|text| text.parse::<i64>().is_ok());
        timestamp && sample.exemplar.is_none()
    })
}

/// Ends the last line where that is missing.
fn ended(text: Bytes) -> Bytes {
    if text.is_empty() || text.ends_with(b"\n") {
        return text;
    }
    let mut ended = BytesMut::with_capacity(text.len() + 1);
    ended.put(text);
    ended.put_u8(b'\n');
    ended.freeze()
}

/// The line, from 1, of a byte.
pub(super) fn line_at(body: &[u8], byte: usize) -> usize {
    body[..byte].iter().filter(|byte| **byte == b'\n').count() + 1
}
