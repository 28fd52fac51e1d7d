//! Indexes of an Indexed job, and their text form: `0-2,4`.

use std::collections::BTreeSet;

use quadrille_sdk::prelude::*;

/// The annotation and label that carry a pod's index.
pub(crate) const INDEX: &str = "batch.kubernetes.io/job-completion-index";

/// The index of a pod.
pub(crate) fn of(pod: &Pod) -> Option<i64> {
    pod.metadata.annotations.get(INDEX)?.parse().ok()
}

/// Reads the text form; what is not an index is left out.
pub(crate) fn parse(text: &str) -> BTreeSet<i64> {
    let mut indexes = BTreeSet::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<i64>(), last.parse::<i64>()) {
            indexes.extend(first..=last);
        }
    }
    indexes
}

/// Writes the text form: two or more in a row as a range, the others one by one.
pub(crate) fn format(indexes: &BTreeSet<i64>) -> String {
    let mut runs: Vec<(i64, i64)> = Vec::new();
    for index in indexes {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == *index => *last = *index,
            _ => runs.push((*index, *index)),
        }
    }
    let text = runs.iter().map(|(first, last)| match last - first {
        0 => first.to_string(),
        1 => format!("{first},{last}"),
        _ => format!("{first}-{last}"),
    });
    text.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_survive_the_text_form() {
        for text in ["", "0", "0,1", "0-2,4", "1,3,5-9"] {
            assert_eq!(format(&parse(text)), text);
        }
        assert!(parse("x,-,3-1").is_empty());
    }
}
