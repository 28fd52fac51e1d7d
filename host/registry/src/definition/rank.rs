//! The order of versions: `v10`, `v2`, `v1`, `v2beta1`, `v1alpha2`, and then everything else by its letters.

use std::cmp::Reverse;

/// Where a version stands; the greatest is the best.
pub(crate) fn version_rank(version: &str) -> (u8, u64, u64, Reverse<&str>) {
    let (stability, major, minor) = parts(version).unwrap_or((0, 0, 0));
    (stability, major, minor, Reverse(version))
}

/// `v1beta2` → (2, 1, 2); `v3` → (3, 3, 0).
fn parts(version: &str) -> Option<(u8, u64, u64)> {
    let rest = version.strip_prefix('v')?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (major, rest) = rest.split_at(end);
    let major = major.parse().ok()?;
    if rest.is_empty() {
        return Some((3, major, 0));
    }
    let beta = rest.strip_prefix("beta").map(|minor| (2, minor));
    let (stability, minor) = beta.or_else(|| rest.strip_prefix("alpha").map(|minor| (1, minor)))?;
    Some((stability, major, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::version_rank;

    #[test]
    fn versions_are_ordered_by_stability_then_number() {
        let mut versions = ["foo1", "v1", "v2beta1", "v10", "v1beta2", "v1alpha1", "bar"];
        versions.sort_by_key(|version| std::cmp::Reverse(version_rank(version)));
        assert_eq!(versions, ["v10", "v1", "v2beta1", "v1beta2", "v1alpha1", "bar", "foo1"]);
    }
}
