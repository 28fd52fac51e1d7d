//! Files that nobody names any more: which of a directory's go, and when.
//!
//! It knows no plugins: what a name stands for is its caller's business.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use quadrille_object::Timestamp;

/// How long files stay that nobody names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unused {
    /// So long in any case: what has just been written may be named in a moment.
    pub(crate) kept_min: Duration,
    /// No longer than this.
    pub(crate) kept_max: Duration,
    /// So many of the newest until then.
    pub(crate) count_max: usize,
}

impl Unused {
    /// Deletes what is to go by now, and answers how many files that were. What cannot be deleted stays and is told.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub(crate) fn delete(
        &self,
        dir: &Path,
        now: Timestamp,
        is_named: impl Fn(&str) -> bool,
    ) -> io::Result<usize> {
        let mut unnamed: Vec<(Duration, PathBuf)> = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            let name = entry.file_name();
            // Somebody else's file, or one that has just gone.
            let Some(name) = name.to_str() else { continue };
            let Ok(meta) = entry.metadata() else { continue };
            if meta.is_file() && !is_named(name) {
                unnamed.push((age(&meta, now), entry.path()));
            }
        }
        unnamed.sort_unstable();
        let is_over = |at: usize, age: Duration| {
            age >= self.kept_max || (at >= self.count_max && age >= self.kept_min)
        };
        let mut deleted = 0;
        for (at, (age, path)) in unnamed.iter().enumerate() {
            if !is_over(at, *age) {
                continue;
            }
            match std::fs::remove_file(path) {
                Ok(()) => deleted += 1,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "unused file not deleted");
                }
            }
        }
        Ok(deleted)
    }
}

/// How long ago a file was written; nothing where the clock says later, or nothing is known.
fn age(meta: &std::fs::Metadata, now: Timestamp) -> Duration {
    let written = meta.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let now = Duration::from_micros(u64::try_from(now.0).unwrap_or_default());
    written.and_then(|written| now.checked_sub(written)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    #[test]
    fn the_old_and_the_many_go_and_what_is_named_or_new_stays() {
        let dir = tempfile::tempdir().expect("temporary directories work");
        let now = HOUR * 500_000;
        for (name, age) in [("named", 9), ("old", 9), ("new", 0), ("a", 2), ("b", 3), ("c", 4)] {
            let file = File::create(dir.path().join(name)).expect("writable");
            file.set_modified(UNIX_EPOCH + now - HOUR * age).expect("its time can be set");
        }
        let unused = Unused { kept_min: HOUR, kept_max: HOUR * 8, count_max: 2 };
        let now = Timestamp(i64::try_from(now.as_micros()).expect("fits"));
        let deleted = unused.delete(dir.path(), now, |name| name == "named").expect("readable");
        let left = ["named", "new", "a"].map(|name| dir.path().join(name).exists());
        assert_eq!((deleted, left), (3, [true; 3]));
        let again = Unused { count_max: 0, ..unused };
        assert_eq!(again.delete(dir.path(), now, |name| name == "named").expect("readable"), 1);
        assert!(dir.path().join("new").exists());
    }
}
