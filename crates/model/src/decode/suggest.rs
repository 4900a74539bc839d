//! What somebody may have meant.

/// The candidate that `word` is a slip of: another case or underscores, or a few letters wrong.
pub(super) fn closest<'c>(word: &str, candidates: &[&'c str]) -> Option<&'c str> {
    let plain = |text: &str| text.replace(['_', '-'], "").to_ascii_lowercase();
    let word_plain = plain(word);
    if word.len() > 64 {
        return None;
    }
    candidates
        .iter()
        .map(|candidate| (distance(&word_plain, &plain(candidate)), *candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().min(word.len()) / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Letters to insert, remove, replace or swap with their neighbour.
fn distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in to.iter().enumerate() {
            let replaced = last[j] + usize::from(a != b);
            let mut best = replaced.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == to[j - 1] && from[i - 1] == *b {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised() {
        let candidates = [
            "perTryTimeout",
            "retryOn",
            "attempts",
            "uri",
            "route",
            "match",
        ];
        let cases = [
            ("per_try_timeout", Some("perTryTimeout")),
            ("perTryTimeOut", Some("perTryTimeout")),
            ("retryon", Some("retryOn")),
            ("attempst", Some("attempts")),
            ("routes", Some("route")),
            ("matches", None),
            ("url", Some("uri")),
            ("x", None),
            ("completelyOther", None),
        ];
        for (word, want) in cases {
            assert_eq!(closest(word, &candidates), want, "{word}");
        }
    }
}
