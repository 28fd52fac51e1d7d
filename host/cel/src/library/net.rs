//! Addresses and ranges of addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Result, text};
use crate::error::EvalError;
use crate::signature::Cost::{Contains, One, Traverse, Twice};
use crate::signature::Row;
use crate::signature::Run::Pure;
use crate::value::{Opaque, Value};

const CONTAINS: crate::signature::Cost = Contains { range: false, text: false };
const CONTAINS_TEXT: crate::signature::Cost = Contains { range: false, text: true };
const COVERS: crate::signature::Cost = Contains { range: true, text: false };
const COVERS_TEXT: crate::signature::Cost = Contains { range: true, text: true };

pub(super) const ROWS: &[Row] = &[
    ("string_to_ip", "ip(string)->ip", Pure(to_ip), Traverse(0)),
    ("is_ip", "isIP(string)->bool", Pure(is_ip), Traverse(0)),
    ("ip_is_canonical", "ip.isCanonical(string)->bool", Pure(is_canonical), Twice(0)),
    ("ip_family", "ip::family()->int", Pure(family), One),
    ("ip_is_unspecified", "ip::isUnspecified()->bool", Pure(is_unspecified), One),
    ("ip_is_loopback", "ip::isLoopback()->bool", Pure(is_loopback), One),
    (
        "ip_is_link_local_multicast",
        "ip::isLinkLocalMulticast()->bool",
        Pure(is_local_multicast),
        One,
    ),
    ("ip_is_link_local_unicast", "ip::isLinkLocalUnicast()->bool", Pure(is_local_unicast), One),
    ("ip_is_global_unicast", "ip::isGlobalUnicast()->bool", Pure(is_global_unicast), One),
    ("ip_to_string", "string(ip)->string", Pure(to_string), One),
    ("string_to_cidr", "cidr(string)->cidr", Pure(to_cidr), Traverse(0)),
    ("is_cidr", "isCIDR(string)->bool", Pure(is_cidr), Traverse(0)),
    ("cidr_contains_ip_string", "cidr::containsIP(string)->bool", Pure(contains_ip), CONTAINS_TEXT),
    ("cidr_contains_ip_ip", "cidr::containsIP(ip)->bool", Pure(contains_ip), CONTAINS),
    (
        "cidr_contains_cidr_string",
        "cidr::containsCIDR(string)->bool",
        Pure(contains_cidr),
        COVERS_TEXT,
    ),
    ("cidr_contains_cidr", "cidr::containsCIDR(cidr)->bool", Pure(contains_cidr), COVERS),
    ("cidr_ip", "cidr::ip()->ip", Pure(cidr_ip), One),
    ("cidr_prefix_length", "cidr::prefixLength()->int", Pure(prefix_length), One),
    ("cidr_masked", "cidr::masked()->cidr", Pure(masked), One),
    ("cidr_to_string", "string(cidr)->string", Pure(to_string), One),
];

/// A range of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    /// An address of the range.
    pub address: IpAddr,
    /// How many bits all addresses of the range share.
    pub prefix: u8,
}

impl Cidr {
    /// Reads `10.0.0.0/8`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> std::result::Result<Self, String> {
        let wrong = |why: &str| {
            format!(
                "network address parse error during conversion from string: \
                 netip.ParsePrefix({text:?}): {why}"
            )
        };
        let (address, prefix) = text.rsplit_once('/').ok_or_else(|| wrong("no '/'"))?;
        if address.contains('%') {
            return Err(wrong("IPv6 zones cannot be present in a prefix"));
        }
        let address = read_ip(address).map_err(|why| wrong(&why))?;
        if is_mapped(address) {
            return Err(format!("IPv4-mapped IPv6 address {text:?} is not allowed"));
        }
        let digits = !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_digit());
        let padded = prefix.len() > 1 && prefix.starts_with('0');
        if !digits || padded || prefix.len() > 9 {
            return Err(wrong(&format!("bad bits after slash: {prefix:?}")));
        }
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let length = prefix.parse::<u8>().ok().filter(|length| *length <= bits);
        let prefix = length.ok_or_else(|| wrong("prefix length out of range"))?;
        Ok(Self { address, prefix })
    }

    pub(crate) fn bytes(&self) -> u64 {
        u64::from(self.prefix.div_ceil(8))
    }

    /// The first address of the range, with its length.
    fn masked(self) -> Self {
        let address = match self.address {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() & mask))
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix)).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask))
            }
        };
        Self { address, ..self }
    }

    fn contains(self, address: IpAddr) -> bool {
        address.is_ipv4() == self.address.is_ipv4()
            && Self { address, prefix: self.prefix }.masked() == self.masked()
    }
}

fn is_mapped(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(inner) if inner.to_ipv4_mapped().is_some())
}

/// An address as Kubernetes takes it: no zone, no IPv4 inside of IPv6.
fn parse_ip(text: &str) -> std::result::Result<IpAddr, String> {
    if let Some((address, zone)) = text.split_once('%')
        && address.parse::<Ipv6Addr>().is_ok()
        && !zone.is_empty()
    {
        return Err(format!("IP address {text:?} with zone value is not allowed"));
    }
    let address = read_ip(text).map_err(|why| {
        format!("IP Address {text:?} parse error during conversion from string: {why}")
    })?;
    if is_mapped(address) {
        return Err(format!("IPv4-mapped IPv6 address {text:?} is not allowed"));
    }
    Ok(address)
}

fn read_ip(text: &str) -> std::result::Result<IpAddr, String> {
    text.parse().map_err(|_| {
        let why = match text.find(['.', ':']) {
            Some(place) if text[place..].starts_with('.') => ipv4_problem(text),
            _ => "unable to parse IP".to_owned(),
        };
        format!("ParseAddr({text:?}): {why}")
    })
}

/// The first thing that is wrong with four numbers.
fn ipv4_problem(text: &str) -> String {
    let (mut number, mut digits, mut dots) = (0_u32, 0, 0);
    for (place, character) in text.char_indices() {
        let rest = &text[place..];
        if let Some(digit) = character.to_digit(10) {
            if digits == 1 && number == 0 {
                return "IPv4 field has octet with leading zero".to_owned();
            }
            number = number * 10 + digit;
            digits += 1;
            if number > 255 {
                return "IPv4 field has value >255".to_owned();
            }
        } else if character == '.' {
            if digits == 0 || rest.len() == 1 {
                return format!("IPv4 field must have at least one digit (at {rest:?})");
            }
            if dots == 3 {
                return "IPv4 address too long".to_owned();
            }
            (number, digits, dots) = (0, 0, dots + 1);
        } else {
            return format!("unexpected character (at {rest:?})");
        }
    }
    "IPv4 address too short".to_owned()
}

fn ip(args: &[Value<'_>], place: usize) -> Result<IpAddr> {
    match args.get(place) {
        Some(Value::Opaque(Opaque::Ip(address))) => Ok(*address),
        Some(Value::String(text)) => parse_ip(text).map_err(EvalError::new),
        _ => Err(EvalError::no_such_overload()),
    }
}

fn cidr(args: &[Value<'_>], place: usize) -> Result<Cidr> {
    match args.get(place) {
        Some(Value::Opaque(Opaque::Cidr(range))) => Ok(*range),
        Some(Value::String(text)) => Cidr::parse(text).map_err(EvalError::new),
        _ => Err(EvalError::no_such_overload()),
    }
}

fn to_ip<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    ip(args, 0).map(|address| Value::Opaque(Opaque::Ip(address)))
}

fn is_ip<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    Ok(Value::Bool(parse_ip(text(args, 0)?).is_ok()))
}

fn is_canonical<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    let text = text(args, 0)?;
    Ok(Value::Bool(ip(args, 0)?.to_string() == **text))
}

fn family<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    Ok(Value::Int(if ip(args, 0)?.is_ipv4() { 4 } else { 6 }))
}

fn is_unspecified<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    Ok(Value::Bool(ip(args, 0)?.is_unspecified()))
}

fn is_loopback<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    Ok(Value::Bool(ip(args, 0)?.is_loopback()))
}

fn local_multicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.octets()[..3] == [224, 0, 0],
        IpAddr::V6(address) => address.segments()[0] & 0xff0f == 0xff02,
    }
}

fn local_unicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.segments()[0] & 0xffc0 == 0xfe80,
    }
}

fn is_local_multicast<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    Ok(Value::Bool(local_multicast(ip(args, 0)?)))
}

fn is_local_unicast<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    Ok(Value::Bool(local_unicast(ip(args, 0)?)))
}

fn is_global_unicast<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    let address = ip(args, 0)?;
    let broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
    let special = broadcast
        || address.is_unspecified()
        || address.is_loopback()
        || address.is_multicast()
        || local_unicast(address);
    Ok(Value::Bool(!special))
}

fn to_string<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    match &args[0] {
        Value::Opaque(Opaque::Ip(address)) => Ok(Value::text(address.to_string())),
        Value::Opaque(Opaque::Cidr(range)) => {
            Ok(Value::text(format!("{}/{}", range.address, range.prefix)))
        }
        _ => Err(EvalError::no_such_overload()),
    }
}

fn to_cidr<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    cidr(args, 0).map(|range| Value::Opaque(Opaque::Cidr(range)))
}

fn is_cidr<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    Ok(Value::Bool(Cidr::parse(text(args, 0)?).is_ok()))
}

fn contains_ip<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    Ok(Value::Bool(cidr(args, 0)?.contains(ip(args, 1)?)))
}

fn contains_cidr<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    let (outer, inner) = (cidr(args, 0)?, cidr(args, 1)?);
    let contains = outer.prefix <= inner.prefix && outer.contains(inner.address);
    Ok(Value::Bool(contains))
}

fn cidr_ip<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    Ok(Value::Opaque(Opaque::Ip(cidr(args, 0)?.address)))
}

fn prefix_length<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    Ok(Value::Int(i64::from(cidr(args, 0)?.prefix)))
}

fn masked<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    Ok(Value::Opaque(Opaque::Cidr(cidr(args, 0)?.masked())))
}
