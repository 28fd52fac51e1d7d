//! `quadrille new NAME`: a controller project of three files.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::json;

use super::Common;
use crate::output::{self, Format};

/// Arguments of `new`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The project's name: lower-case letters, digits and dashes.
    name: String,
    /// Where to make it; default `./NAME`.
    dir: Option<PathBuf>,
    /// Use the SDK in this directory instead of the released one.
    #[arg(long, value_name = "DIR", env = "QUADRILLE_SDK")]
    sdk: Option<PathBuf>,
}

const FILES: &[(&str, &str)] = &[
    ("Cargo.toml", include_str!("../../../sdk/template/Cargo.toml")),
    ("src/lib.rs", include_str!("../../../sdk/template/src/lib.rs")),
    ("example.yaml", include_str!("../../../sdk/template/example.yaml")),
];

/// Makes the project.
pub(crate) fn run(args: &Args, common: &Common) -> anyhow::Result<()> {
    check_name(&args.name)?;
    let dir = args.dir.clone().unwrap_or_else(|| PathBuf::from(&args.name));
    if dir.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
        bail!("{} exists and is not empty: name another directory", dir.display());
    }
    for (file, text) in FILES {
        write(&dir.join(file), &fill(text, args)?)?;
    }
    let files: Vec<&str> = FILES.iter().map(|(file, _)| *file).collect();
    match common.format {
        Format::Json => output::json(&json!({"dir": dir, "files": files})),
        Format::Text => {
            output::line(format!("created {} in {}", files.join("  "), dir.display()))?;
            output::line(format!("next: cd {} && quadrille dev", dir.display()))
        }
    }
}

fn check_name(name: &str) -> anyhow::Result<()> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let starts = name.starts_with(|c: char| c.is_ascii_lowercase());
    if !starts || name.ends_with('-') || name.len() > 40 || !name.chars().all(fits) {
        bail!(
            "\"{name}\" is no project name: up to 40 lower-case letters, digits and dashes, a letter first"
        );
    }
    Ok(())
}

/// Where the SDK lies beside the sources that this program was built from.
const SDK_BESIDE_SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../sdk");

/// Puts the name, its kind in CamelCase and the SDK into a template.
fn fill(text: &str, args: &Args) -> anyhow::Result<String> {
    let words = args.name.split('-').filter(|word| !word.is_empty());
    let kind: String = words.map(capitalised).collect();
    let beside = Path::new(SDK_BESIDE_SOURCES);
    let given = args.sdk.as_deref().or_else(|| beside.is_dir().then_some(beside));
    let (sdk, testing) = if let Some(dir) = given {
        let dir = dir.canonicalize().with_context(|| format!("no SDK at {}", dir.display()))?;
        let toml = |dir: &Path| format!("{{ path = {} }}", json!(dir));
        (toml(&dir), toml(&dir.join("testing")))
    } else {
        let released = json!(env!("CARGO_PKG_VERSION")).to_string();
        (released.clone(), released)
    };
    let filled = text.replace("{{name}}", &args.name).replace("{{Kind}}", &kind);
    Ok(filled.replace("{{quadrille-sdk}}", &sdk).replace("{{quadrille-testing}}", &testing))
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
    }
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        assert!(check_name("my-controller").is_ok());
        for bad in ["", "9a", "A", "a_b", "a-", &"a".repeat(41)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
