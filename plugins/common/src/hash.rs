//! Hashes in names, as Kubernetes has them: FNV, 32 bits wide, written in letters that spell nothing.

use quadrille_sdk::k8s::PodTemplate;
use quadrille_sdk::prelude::*;

use crate::go;

const OFFSET: u32 = 0x811c_9dc5;
const PRIME: u32 = 0x0100_0193;

/// FNV-1a.
pub fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(OFFSET, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(PRIME))
}

/// FNV-1.
pub fn fnv1(bytes: &[u8]) -> u32 {
    bytes.iter().fold(OFFSET, |hash, byte| hash.wrapping_mul(PRIME) ^ u32::from(*byte))
}

/// A hash as it stands in a name: one letter per decimal digit, from an alphabet without vowels.
pub fn letters(hash: u32) -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let letter = |digit: u8| ALPHABET.get(usize::from(digit) % ALPHABET.len()).copied();
    hash.to_string().bytes().filter_map(letter).map(char::from).collect()
}

/// The hash of a pod template; another one after each collision of names, `None` where there was no count of them.
///
/// # Errors
/// When the template is not what Kubernetes takes.
pub fn of_template(template: &PodTemplate, collisions: Option<i64>) -> Result<String> {
    let mut bytes = go::dump_template(template)?.into_bytes();
    if let Some(collisions) = collisions {
        bytes.extend(u32::try_from(collisions).unwrap_or(0).to_le_bytes());
        bytes.extend([0; 4]);
    }
    Ok(letters(fnv1a(&bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use quadrille_sdk::k8s::Raw;
    use serde_json::json;

    /// A template as the host defaults it.
    pub(crate) fn template() -> PodTemplate {
        let mut template = PodTemplate::default();
        template.metadata.labels.insert("app".to_owned(), "x".to_owned());
        template.spec = Some(Raw::from(json!({
            "containers": [{
                "image": "img:1", "imagePullPolicy": "IfNotPresent", "name": "c", "resources": {},
                "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File",
            }],
            "dnsPolicy": "ClusterFirst", "restartPolicy": "Always",
            "schedulerName": "default-scheduler", "securityContext": {},
            "terminationGracePeriodSeconds": 30,
        })));
        template
    }

    #[test]
    fn the_hash_of_a_template_is_that_of_kubernetes() {
        assert_eq!(of_template(&template(), None).expect("a template"), "5d57d9744c");
    }

    #[test]
    fn a_collision_gives_another_hash() {
        let first = of_template(&template(), None).expect("a template");
        let second = of_template(&template(), Some(1)).expect("a template");
        assert_ne!(first, second);
    }

    #[test]
    fn fnv_is_fnv() {
        assert_eq!((fnv1a(b"a"), fnv1(b"a")), (0xe40c_292c, 0x050c_5d7e));
        assert_eq!(letters(1_203), "5647");
    }
}
