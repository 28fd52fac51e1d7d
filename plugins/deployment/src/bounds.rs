//! The bounds of a rolling update: how many pods there may be too many and how many may be missing.

use quadrille_sdk::k8s::{Deployment, DeploymentStrategy, IntOrString};

/// The bounds of one deployment, in pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// How many more than wanted.
    pub(crate) surge: i64,
    /// How many of the wanted may be unavailable.
    pub(crate) unavailable: i64,
}

impl Bounds {
    /// Percentages of the wanted pods: the surge rounded up, the unavailable down. When both come to nothing one pod
    /// may be unavailable, since nothing could move otherwise.
    pub(crate) fn of(deployment: &Deployment) -> Self {
        let wanted = deployment.spec.replicas.unwrap_or(1);
        let strategy = deployment.spec.strategy.as_ref();
        if strategy.is_some_and(|strategy| strategy.r#type == "Recreate") {
            return Self { surge: 0, unavailable: 0 };
        }
        let rolling = strategy.and_then(rolling_update);
        let quarter = IntOrString::String("25%".to_owned());
        let (surge, unavailable) = rolling.unwrap_or((None, None));
        let surge = surge.unwrap_or(&quarter).of(wanted, true).max(0);
        let mut unavailable = unavailable.unwrap_or(&quarter).of(wanted, false).max(0);
        if surge == 0 && unavailable == 0 {
            unavailable = 1;
        }
        Self { surge, unavailable: unavailable.min(wanted) }
    }
}

type Limits<'a> = (Option<&'a IntOrString>, Option<&'a IntOrString>);

fn rolling_update(strategy: &DeploymentStrategy) -> Option<Limits<'_>> {
    let rolling = strategy.rolling_update.as_ref()?;
    Some((rolling.max_surge.as_ref(), rolling.max_unavailable.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use quadrille_sdk::k8s::RollingUpdate;

    #[track_caller]
    fn check(replicas: i64, surge: &str, unavailable: &str, expected: (i64, i64)) {
        let limit = |text: &str| {
            Some(
                text.parse()
                    .map_or_else(|_| IntOrString::String(text.to_owned()), IntOrString::Int),
            )
        };
        let mut deployment = Deployment::default();
        deployment.spec.replicas = Some(replicas);
        let rolling =
            RollingUpdate { max_surge: limit(surge), max_unavailable: limit(unavailable) };
        let strategy = DeploymentStrategy {
            r#type: "RollingUpdate".to_owned(),
            rolling_update: Some(rolling),
        };
        deployment.spec.strategy = Some(strategy);
        let bounds = Bounds::of(&deployment);
        assert_eq!((bounds.surge, bounds.unavailable), expected);
    }

    #[test]
    fn surge_rounds_up_and_unavailable_rounds_down() {
        check(10, "25%", "25%", (3, 2));
        check(1, "25%", "25%", (1, 0));
        check(3, "1", "0", (1, 0));
        check(4, "0", "10%", (0, 1));
        check(2, "0", "5", (0, 2));
        check(0, "25%", "25%", (0, 0));
    }
}
