//! OpenMetrics, rewritten as the text format.
//!
//! Source: OpenMetrics 1.0, and the text format 0.0.4 of Prometheus.

use super::sample::Sample;
use super::text::{END, line_at};
use bytes::Bytes;
use std::fmt::Write as _;

/// The same in the text format: without its end, units and exemplars, with the types that there are and milliseconds in
/// timestamps. The number of the first line that is none of the format, from 1, otherwise.
pub(super) fn as_text(body: &Bytes) -> Result<Bytes, usize> {
    let text = str::from_utf8(body).map_err(|error| line_at(body, error.valid_up_to()))?;
    let mut writer = Writer::default();
    for (index, line) in text.lines().enumerate() {
        if line == END {
            break;
        }
        writer.line(line).ok_or(index + 1)?;
    }
    writer.head();
    Ok(writer.out.into())
}

/// Writes families one after the other.
#[derive(Default)]
struct Writer<'a> {
    out: String,
    /// What was said of the family whose samples are to come.
    name: &'a str,
    help: Option<&'a str>,
    kind: Option<Kind>,
}

/// A type of the text format, and what the name of its samples ends in.
#[derive(Clone, Copy)]
struct Kind {
    name: &'static str,
    suffix: &'static str,
}

impl Kind {
    fn of(open_metrics: &str) -> Option<Self> {
        let (name, suffix) = match open_metrics {
            "counter" => ("counter", "_total"),
            "gauge" | "stateset" => ("gauge", ""),
            "histogram" => ("histogram", ""),
            "summary" => ("summary", ""),
            "info" => ("gauge", "_info"),
            "gaugehistogram" | "unknown" => ("untyped", ""),
            _ => return None,
        };
        Some(Self { name, suffix })
    }
}

impl<'a> Writer<'a> {
    /// `None`: it is none of the format.
    fn line(&mut self, line: &'a str) -> Option<()> {
        let Some(comment) = line.strip_prefix('#') else {
            let sample = Sample::parse(line)?;
            self.head();
            return self.sample(&sample);
        };
        let mut parts = comment.trim_start().splitn(3, ' ');
        let (what, name) = (parts.next()?, parts.next().unwrap_or_default());
        let text = parts.next().unwrap_or_default();
        match what {
            "HELP" => {
                self.family(name);
                self.help = Some(text);
            }
            "TYPE" => {
                self.family(name);
                self.kind = Some(Kind::of(text)?);
            }
            // Units have no place in the text format, and other comments no meaning.
            _ => {}
        }
        Some(())
    }

    /// Begins a family, unless it is the one that is being described.
    fn family(&mut self, name: &'a str) {
        if self.name != name {
            self.head();
            self.name = name;
        }
    }

    /// Writes what was said of a family, under the name that its samples have.
    fn head(&mut self) {
        let (help, kind) = (self.help.take(), self.kind.take());
        let name = self.name;
        let suffix = kind.map_or("", |kind| kind.suffix);
        // Writing to a string does not fail.
        if let Some(help) = help {
            let help = help.replace("\\\"", "\"");
            let _ = writeln!(self.out, "# HELP {name}{suffix} {help}");
        }
        if let Some(kind) = kind {
            let _ = writeln!(self.out, "# TYPE {name}{suffix} {}", kind.name);
        }
    }

    fn sample(&mut self, sample: &Sample<'_>) -> Option<()> {
        let Sample { series, value, .. } = sample;
        let _ = write!(self.out, "{series} {value}");
        if let Some(seconds) = sample.timestamp {
            let milliseconds = seconds.parse::<f64>().ok()? * 1000.0;
            let is_known = milliseconds.is_finite() && milliseconds.abs() < i64::MAX as f64;
            is_known.then_some(())?;
            let _ = write!(self.out, " {}", milliseconds.round() as i64);
        }
        self.out.push('\n');
        Some(())
    }
}
