//! Metrics in Prometheus' text form.

use std::collections::BTreeMap;

/// The samples of one scrape.
#[derive(Debug)]
pub struct Samples(Vec<Sample>);

#[derive(Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Samples {
    /// Reads a page.
    ///
    /// # Panics
    ///
    /// When a line is no sample: a scraper would refuse it as well.
    #[track_caller]
    pub fn parse(page: &str) -> Self {
        let lines = page.lines().filter(|line| !line.is_empty());
        let lines = lines.filter(|line| !line.starts_with('#'));
        let samples = lines.map(|line| match parse_line(line) {
            Some(sample) => sample,
            None => panic!("no sample: {line}"),
        });
        Self(samples.collect())
    }

    /// The sum over the samples of this name that have all these labels.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.select(name, labels).map(|sample| sample.value).sum()
    }

    /// How many samples of this name have all these labels.
    pub fn count(&self, name: &str, labels: &[(&str, &str)]) -> usize {
        self.select(name, labels).count()
    }

    /// How many samples there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The labels of the samples of this name.
    pub fn labels<'a>(&'a self, name: &'a str) -> Vec<&'a BTreeMap<String, String>> {
        self.select(name, &[])
            .map(|sample| &sample.labels)
            .collect()
    }

    /// The names of all samples, once each.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.0.iter().map(|sample| sample.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    fn select<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&str, &str)],
    ) -> impl Iterator<Item = &'a Sample> {
        self.0.iter().filter(move |sample| {
            sample.name == name
                && labels
                    .iter()
                    .all(|(key, value)| sample.labels.get(*key).is_some_and(|found| found == value))
        })
    }
}

fn parse_line(line: &str) -> Option<Sample> {
    let (series, value) = line.rsplit_once(' ')?;
    let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
    Some(Sample {
        name: name.to_owned(),
        labels: parse_labels(labels.strip_suffix('}')?)?,
        value: value.parse().ok()?,
    })
}

/// `a="x",b="y"`; no test has a quote inside a value.
fn parse_labels(text: &str) -> Option<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (key, after) = rest.split_once("=\"")?;
        let (value, after) = after.split_once('"')?;
        labels.insert(key.to_owned(), value.to_owned());
        rest = after.trim_start_matches(',');
    }
    Some(labels)
}
