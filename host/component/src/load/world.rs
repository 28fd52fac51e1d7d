//! Whether a component fits our world: each import by name, each function by type, before anything is compiled.

use std::fmt::Write as _;

use wit_parser::decoding::DecodedWasm;
use wit_parser::{
    Function, Handle, InterfaceId, Resolve, Type, TypeDefKind, TypeId, UnresolvedPackageGroup,
    WorldId, WorldItem, WorldKey,
};

use super::error::LoadError;

/// The contract, as released.
const CONTROLLER_WIT: &str = include_str!("../../../../wit/controller.wit");

const OUR_PACKAGE: &str = "quadrille:controller/";
const EXPORT: &str = "quadrille:controller/controller";

/// Checks imports and exports against the contract.
pub(super) fn check(decoded: &DecodedWasm) -> Result<(), LoadError> {
    let DecodedWasm::Component(theirs, world) = decoded else {
        return Err(LoadError::MissingExport {
            export: EXPORT.to_owned(),
            found: "nothing: it is a package of WIT text".to_owned(),
        });
    };
    let ours = contract();
    check_imports(&ours, theirs, *world)?;
    check_export(&ours, theirs, *world)
}

fn contract() -> Resolve {
    let mut resolve = Resolve::default();
    let group = UnresolvedPackageGroup::parse("controller.wit", CONTROLLER_WIT);
    let group = group.map_err(|(_, error)| error).expect("the contract is checked by every build");
    resolve.push_group(group).expect("the contract is checked by every build");
    resolve
}

fn check_imports(ours: &Resolve, theirs: &Resolve, world: WorldId) -> Result<(), LoadError> {
    let world = theirs.worlds.get(world).ok_or_else(no_world)?;
    for (key, item) in &world.imports {
        let name = theirs.name_world_key(key);
        let interface = match (key, item) {
            (WorldKey::Interface(id), WorldItem::Interface { .. }) => *id,
            (_, WorldItem::Type { .. }) => continue,
            _ => return Err(LoadError::ForeignImport { import: name }),
        };
        if name.starts_with("wasi:") && name.contains("@0.2.") {
            continue;
        }
        let Some(our_interface) = find(ours, &name) else {
            return Err(LoadError::ForeignImport { import: name });
        };
        for function in functions(theirs, interface) {
            let Some(our_function) = by_name(ours, our_interface, &function.name) else {
                let import = format!("{name}#{}", function.name);
                return Err(LoadError::ForeignImport { import });
            };
            same_type(&name, (ours, our_function), (theirs, function))?;
        }
    }
    Ok(())
}

fn check_export(ours: &Resolve, theirs: &Resolve, world: WorldId) -> Result<(), LoadError> {
    let world = theirs.worlds.get(world).ok_or_else(no_world)?;
    let names = || world.exports.keys().map(|key| theirs.name_world_key(key));
    let found = world.exports.keys().find_map(|key| match key {
        WorldKey::Interface(id) => {
            let name = theirs.name_world_key(key);
            let fits = name.starts_with(EXPORT) && find(ours, &name).is_some();
            fits.then_some((name, *id))
        }
        WorldKey::Name(_) => None,
    });
    let Some((name, interface)) = found else {
        let found = names().take(5).collect::<Vec<_>>().join(", ");
        let found = if found.is_empty() { "nothing".to_owned() } else { found };
        return Err(LoadError::MissingExport { export: format!("{EXPORT}@0.1"), found });
    };
    let our_interface = find(ours, &name).ok_or_else(no_world)?;
    for function in functions(ours, our_interface) {
        let Some(their_function) = by_name(theirs, interface, &function.name) else {
            let export = format!("{name}#{}", function.name);
            return Err(LoadError::MissingExport { export, found: name.clone() });
        };
        same_type(&name, (ours, function), (theirs, their_function))?;
    }
    Ok(())
}

fn no_world() -> LoadError {
    LoadError::Malformed { detail: "the component's types name no world".to_owned() }
}

/// Our interface of this name; any patch of our minor version is ours.
fn find(ours: &Resolve, name: &str) -> Option<InterfaceId> {
    let minor = |name: &str| {
        let (path, package) = name.split_once('@')?;
        let mut parts = package.split('.');
        Some((path.to_owned(), parts.next()?.to_owned(), parts.next()?.to_owned()))
    };
    if !name.starts_with(OUR_PACKAGE) {
        return None;
    }
    let wanted = minor(name)?;
    let mut interfaces = ours.interfaces.iter();
    interfaces.find_map(|(id, _)| (minor(&ours.id_of(id)?)? == wanted).then_some(id))
}

fn functions(resolve: &Resolve, id: InterfaceId) -> impl Iterator<Item = &Function> {
    resolve.interfaces.get(id).into_iter().flat_map(|interface| interface.functions.values())
}

fn by_name<'a>(resolve: &'a Resolve, id: InterfaceId, name: &str) -> Option<&'a Function> {
    resolve.interfaces.get(id)?.functions.get(name)
}

fn same_type(
    interface: &str,
    (ours, our_function): (&Resolve, &Function),
    (theirs, their_function): (&Resolve, &Function),
) -> Result<(), LoadError> {
    let wanted = signature(ours, our_function);
    let found = signature(theirs, their_function);
    if wanted == found {
        return Ok(());
    }
    let cut = |text: String| text.chars().take(300).collect::<String>();
    let function = format!("{interface}#{}", our_function.name);
    Err(LoadError::WrongType { function, found: cut(found), wanted: cut(wanted) })
}

/// The type of a function with every name resolved: equal texts are equal types.
fn signature(resolve: &Resolve, function: &Function) -> String {
    let mut out = String::from("func(");
    for (at, param) in function.params.iter().enumerate() {
        out.push_str(if at == 0 { "" } else { ", " });
        out.push_str(&param.name);
        out.push_str(": ");
        write_type(resolve, &param.ty, &mut out, 0);
    }
    out.push(')');
    if let Some(result) = &function.result {
        out.push_str(" -> ");
        write_type(resolve, result, &mut out, 0);
    }
    out
}

/// How deep types nest, and how long their text gets, before they are certainly not ours.
const DEPTH_MAX: usize = 16;
const TEXT_MAX: usize = 16 << 10;

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "every other type is a primitive with its own name"
)]
fn write_type(resolve: &Resolve, ty: &Type, out: &mut String, depth: usize) {
    if depth > DEPTH_MAX || out.len() > TEXT_MAX {
        out.push('…');
        return;
    }
    match ty {
        Type::Id(id) => write_definition(resolve, *id, out, depth + 1),
        primitive => out.push_str(&format!("{primitive:?}").to_lowercase()),
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the contract has no other kind; a name tells them apart"
)]
fn write_definition(resolve: &Resolve, id: TypeId, out: &mut String, depth: usize) {
    let Some(definition) = resolve.types.get(id) else { return out.push('?') };
    let mut fields = |open: &str, fields: &mut dyn Iterator<Item = (&str, Option<&Type>)>| {
        out.push_str(open);
        for (name, ty) in fields {
            out.push_str(name);
            if let Some(ty) = ty {
                out.push(':');
                write_type(resolve, ty, out, depth);
            }
            out.push(',');
        }
        out.push('}');
    };
    match &definition.kind {
        TypeDefKind::Type(ty) => write_type(resolve, ty, out, depth),
        TypeDefKind::Record(record) => {
            fields("record{", &mut record.fields.iter().map(|f| (f.name.as_str(), Some(&f.ty))));
        }
        TypeDefKind::Variant(variant) => {
            fields("variant{", &mut variant.cases.iter().map(|c| (c.name.as_str(), c.ty.as_ref())));
        }
        TypeDefKind::Enum(cases) => {
            fields("enum{", &mut cases.cases.iter().map(|c| (c.name.as_str(), None)));
        }
        TypeDefKind::Flags(flags) => {
            fields("flags{", &mut flags.flags.iter().map(|f| (f.name.as_str(), None)));
        }
        TypeDefKind::Tuple(tuple) => {
            fields("tuple{", &mut tuple.types.iter().map(|ty| ("", Some(ty))));
        }
        TypeDefKind::Option(ty) => fields("option{", &mut [("", Some(ty))].into_iter()),
        TypeDefKind::List(ty) => fields("list{", &mut [("", Some(ty))].into_iter()),
        TypeDefKind::Result(result) => {
            let cases = [("ok", result.ok.as_ref()), ("err", result.err.as_ref())];
            fields("result{", &mut cases.into_iter());
        }
        TypeDefKind::Handle(Handle::Own(id) | Handle::Borrow(id)) => {
            fields("handle{", &mut [("", Some(&Type::Id(*id)))].into_iter());
        }
        other => {
            write!(out, "{}", other.as_str()).expect("writing to a String cannot fail");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contract_names_its_interfaces_by_minor_version() {
        let ours = contract();
        assert!(find(&ours, "quadrille:controller/objects@0.1.7").is_some());
        assert!(find(&ours, "quadrille:controller/objects@0.2.0").is_none());
        assert!(find(&ours, "quadrille:controller/secrets@0.1.0").is_none());
        assert!(find(&ours, "wasi:io/streams@0.2.6").is_none());
    }
}
