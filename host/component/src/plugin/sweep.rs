//! Components that no plugin names: refused candidates, uploads that were only tried, what a host left that ended in the
//! middle. They stay for a while, since a plugin may still be pointed at one, and go.

use std::collections::BTreeSet;
use std::time::Duration;

use super::manager::PluginManager;
use crate::unused::Unused;

const HOUR: Duration = Duration::from_hours(1);
/// Components can be named by a spec that comes later, and nobody but their uploader can make them again.
const COMPONENTS: Unused =
    Unused { kept_min: HOUR, kept_max: HOUR.saturating_mul(24 * 7), count_max: 64 };
/// Compiled code can be made again.
const CODE: Unused = Unused { kept_min: HOUR, kept_max: HOUR.saturating_mul(24), count_max: 64 };
/// How often it is looked for them.
pub(super) const INTERVAL: Duration = HOUR;

impl PluginManager {
    /// Deletes the files of components that no plugin names, when their time is over.
    pub(super) fn sweep(&self) {
        let named = self.named();
        let now = self.inner.clock.now();
        let components = self.inner.files.delete_unused(&COMPONENTS, now, &named);
        let code = self.inner.loader.delete_unused(&CODE, now, &named);
        match components.and_then(|components| Ok((components, code?))) {
            Ok((0, 0)) => {}
            Ok((components, code)) => {
                tracing::info!(components, code, "files that no plugin names were deleted");
            }
            Err(error) => tracing::warn!(%error, "unused components are not looked for"),
        }
    }

    /// The digests, in hexadecimal, that any plugin's object says anywhere, and of what somebody is about to name or load.
    fn named(&self) -> BTreeSet<String> {
        const MARK: &str = "sha256:";
        let mut named = self.inner.files.needed();
        for object in self.inner.objects.all() {
            let text = String::from_utf8_lossy(&object.bytes);
            for (at, _) in text.match_indices(MARK) {
                let hex = text.get(at + MARK.len()..).and_then(|rest| rest.get(..64));
                named.extend(hex.map(str::to_owned));
            }
        }
        named
    }
}
