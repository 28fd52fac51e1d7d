//! The first look at uploaded bytes: size, magic number, component or core module.

use wasmparser::{Encoding, Parser, Payload};
use wit_component::ComponentEncoder;
use wit_parser::decoding::DecodedWasm;

use super::error::LoadError;

/// The custom section in which the toolchain leaves the world that a core module was made for.
const WORLD_SECTION: &str = "component-type";

/// Refuses what is not Wasm, and makes a component of a core module that was made for one.
pub(super) fn componentise(bytes: &[u8], bytes_max: usize) -> Result<Vec<u8>, LoadError> {
    if bytes.len() > bytes_max {
        return Err(LoadError::TooLarge { size: bytes.len(), max: bytes_max });
    }
    if !bytes.starts_with(b"\0asm") {
        let head = bytes.get(..bytes.len().min(16)).unwrap_or_default();
        let found = if bytes.is_empty() {
            "nothing at all".to_owned()
        } else {
            format!("\"{}\"", head.escape_ascii())
        };
        return Err(LoadError::NotWasm { found });
    }
    let outline = outline(bytes)?;
    match outline.encoding {
        Encoding::Component => Ok(bytes.to_vec()),
        Encoding::Module if outline.made_for_a_world => encode(bytes),
        Encoding::Module => Err(LoadError::CoreModule { imports: outline.imports_text() }),
    }
}

/// Reads the types of a component.
pub(super) fn decode(bytes: &[u8]) -> Result<DecodedWasm, LoadError> {
    wit_component::decode(bytes).map_err(|error| malformed(&format!("{error:#}")))
}

fn encode(module: &[u8]) -> Result<Vec<u8>, LoadError> {
    let encoder = ComponentEncoder::default().validate(true).module(module);
    encoder.and_then(|mut encoder| encoder.encode()).map_err(|error| LoadError::CoreModule {
        imports: format!(" that can be made into one ({})", one_line(&format!("{error:#}"))),
    })
}

struct Outline {
    encoding: Encoding,
    made_for_a_world: bool,
    imports: Vec<String>,
}

impl Outline {
    fn imports_text(&self) -> String {
        if self.imports.is_empty() {
            return String::new();
        }
        let shown = self.imports.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
        let more = self.imports.len().saturating_sub(5);
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        format!(": it imports {shown}{more}")
    }
}

/// Walks the sections without going into nested ones; a truncated file ends here.
#[expect(clippy::wildcard_enum_match_arm, reason = "other sections say nothing about the outline")]
fn outline(bytes: &[u8]) -> Result<Outline, LoadError> {
    let mut outline =
        Outline { encoding: Encoding::Module, made_for_a_world: false, imports: Vec::new() };
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(|error| malformed(&error.to_string()))? {
            Payload::Version { encoding, .. } if depth == 0 => outline.encoding = encoding,
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::CustomSection(section) if depth == 0 => {
                outline.made_for_a_world |= section.name().starts_with(WORLD_SECTION);
            }
            Payload::ImportSection(section) if depth == 0 => {
                for import in section.into_imports().flatten() {
                    outline.imports.push(format!("{}.{}", import.module, import.name));
                }
            }
            _ => {}
        }
    }
    Ok(outline)
}

fn malformed(detail: &str) -> LoadError {
    LoadError::Malformed { detail: one_line(detail) }
}

/// The text of an error on one line and not too long.
pub(crate) fn one_line(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().take(600).collect()
}
