//! IP addresses, networks, ports and hosts, as several kinds check them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use quadrille_object::validate_name;
use serde_json::{Value, json};

use crate::field::{self, Errors, Object};

const IP: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
const CIDR: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
pub(crate) const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];

/// An address; leading zeros in IPv4, which Kubernetes still takes, are overlooked.
pub(crate) fn parse_ip(text: &str) -> Option<IpAddr> {
    text.parse().ok().or_else(|| {
        let parts: Vec<&str> = text.split('.').collect();
        let [a, b, c, d] = parts.as_slice() else { return None };
        let octet = |part: &str| {
            let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
            part.parse::<u16>().ok().filter(|_| digits).and_then(|n| u8::try_from(n).ok())
        };
        Some(IpAddr::V4(Ipv4Addr::new(octet(a)?, octet(b)?, octet(c)?, octet(d)?)))
    })
}

/// A network: its base as a number, its prefix's length, and how many bits its addresses have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    pub(crate) address: IpAddr,
    pub(crate) bits: u32,
}

impl Network {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/')?;
        let digits = !bits.is_empty() && bits.bytes().all(|b| b.is_ascii_digit());
        let (address, bits) = (parse_ip(address)?, bits.parse().ok().filter(|_| digits)?);
        (bits <= width(address)).then_some(Self { address, bits })
    }

    fn base(self) -> u128 {
        let host = width(self.address) - self.bits;
        number(self.address).checked_shr(host).and_then(|n| n.checked_shl(host)).unwrap_or(0)
    }

    /// Whether another network lies within it and is smaller.
    pub(crate) fn strictly_holds(self, other: Self) -> bool {
        let inner = Self { address: other.address, bits: self.bits };
        width(self.address) == width(other.address)
            && other.bits > self.bits
            && inner.base() == self.base()
    }

    /// The network as it is written when nothing but its prefix is.
    pub(crate) fn canonical(self) -> String {
        let base = match self.address {
            IpAddr::V4(_) => {
                IpAddr::V4(Ipv4Addr::from(u32::try_from(self.base()).unwrap_or(u32::MAX)))
            }
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from(self.base())),
        };
        format!("{base}/{}", self.bits)
    }
}

/// Makes a field that holds one value agree with the list that came after it, whose first value it is. `key` is where the
/// list's elements hold theirs, when they are maps. The one is right when both are given and differ.
pub(crate) fn agree(object: &mut Object, one: &str, list: &str, key: Option<&str>) {
    let of = |element: &Value| match key {
        Some(key) => element.get(key).and_then(Value::as_str).map(str::to_owned),
        None => element.as_str().map(str::to_owned),
    };
    let first = field::list(object, &[list]).first().and_then(of);
    let given = field::text(object, &[one]).filter(|one| !one.is_empty()).map(str::to_owned);
    match (given, first) {
        (Some(given), first) if first.as_deref() != Some(given.as_str()) => {
            let element = key.map_or_else(|| json!(given), |key| json!({key: given}));
            object.insert(list.to_owned(), json!([element]));
        }
        (None, Some(first)) => drop(object.insert(one.to_owned(), first.into())),
        _ => {}
    }
}

fn width(address: IpAddr) -> u32 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}

/// Checks an address.
pub(crate) fn validate_ip(at: &str, text: &str, errors: &mut Errors) {
    if parse_ip(text).is_none() {
        errors.invalid(at, &text.into(), IP);
    }
}

/// Checks a network; answers it when it is one.
pub(crate) fn validate_network(at: &str, text: &str, errors: &mut Errors) -> Option<Network> {
    let network = Network::parse(text);
    if network.is_none() {
        errors.invalid(at, &text.into(), CIDR);
    }
    network
}

/// Refuses addresses at which no endpoint can be.
pub(crate) fn validate_reachable(at: &str, text: &str, errors: &mut Errors) {
    let Some(address) = parse_ip(text) else {
        errors.invalid(at, &text.into(), "must be a valid IP address");
        return;
    };
    let (unicast, multicast) = match address {
        IpAddr::V4(v4) => (v4.is_link_local(), v4.octets().starts_with(&[224, 0, 0])),
        IpAddr::V6(v6) => (
            v6.is_unicast_link_local(),
            v6.segments().first().is_some_and(|s| s & 0xff0f == 0xff02),
        ),
    };
    let unspecified = format!("may not be unspecified ({text})");
    let problems = [
        (address.is_unspecified(), unspecified.as_str()),
        (address.is_loopback(), "may not be in the loopback range (127.0.0.0/8, ::1/128)"),
        (unicast, "may not be in the link-local range (169.254.0.0/16, fe80::/10)"),
        (multicast, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"),
    ];
    for (_, why) in problems.into_iter().filter(|(holds, _)| *holds) {
        errors.invalid(at, &text.into(), why);
    }
}

/// Warns of an address that is not written as it should be.
pub(crate) fn warn_ip(at: &str, text: &str, warnings: &mut Vec<String>) {
    let Some(address) = parse_ip(text) else { return };
    let canonical = address.to_string();
    let mapped = matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
    if mapped || (address.is_ipv4() && canonical != text) {
        let shown = match address {
            IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(canonical, |v4| v4.to_string()),
            IpAddr::V4(_) => canonical,
        };
        warnings.push(format!(
            "{at}: non-standard IP address \"{text}\" will be considered invalid in a future Kubernetes release: use \
             \"{shown}\""
        ));
    } else if canonical != text {
        warnings.push(format!(
            "{at}: IPv6 address \"{text}\" should be in RFC 5952 canonical format (\"{canonical}\")"
        ));
    }
}

/// Warns of a network that is not written as it should be.
pub(crate) fn warn_network(at: &str, text: &str, warnings: &mut Vec<String>) {
    let Some(network) = Network::parse(text) else { return };
    let canonical = network.canonical();
    let exact = text.split('/').next().and_then(parse_ip).map(|a| format!("{a}/{}", network.bits));
    if exact.is_some_and(|exact| exact != canonical) {
        warnings.push(format!(
            "{at}: CIDR value \"{text}\" is ambiguous in this context (should be \"{canonical}\" or \"{}/{}\"?)",
            network.address,
            width(network.address)
        ));
    } else if canonical != text && network.address.is_ipv6() {
        warnings.push(format!(
            "{at}: IPv6 CIDR value \"{text}\" should be in RFC 5952 canonical format (\"{canonical}\")"
        ));
    } else if canonical != text {
        warnings.push(format!(
            "{at}: non-standard CIDR value \"{text}\" will be considered invalid in a future Kubernetes release: use \
             \"{canonical}\""
        ));
    }
}

/// What is wrong with the name of a port.
pub(crate) fn port_name_problems(name: &str) -> Vec<String> {
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let mut problems = Vec::new();
    if name.len() > 15 {
        problems.push("must be no more than 15 characters".to_owned());
    }
    if !name.bytes().all(good) {
        let why = "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)";
        problems.push(why.to_owned());
    }
    if !name.bytes().any(|b| b.is_ascii_lowercase()) {
        problems.push("must contain at least one letter (a-z)".to_owned());
    }
    if name.contains("--") {
        problems.push("must not contain consecutive hyphens".to_owned());
    }
    if name.starts_with('-') || name.ends_with('-') {
        problems.push("must not begin or end with a hyphen".to_owned());
    }
    problems
}

/// Checks a host: a name, perhaps with a `*` as its first label, and no address.
pub(crate) fn validate_host(at: &str, host: &str, errors: &mut Errors) {
    const WILDCARD: &str = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, \
         which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character \
         (e.g. '*.example.com', regex used for validation is \
         '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
    if !host.contains('*') {
        errors.invalid_each(at, host, validate_name::dns_subdomain(host));
        return;
    }
    let below = host.strip_prefix("*.").unwrap_or_default();
    if !validate_name::dns_subdomain(below).is_empty() {
        errors.invalid(at, &host.into(), WILDCARD);
    }
}

/// Checks a full name of a host, of at least two labels.
pub(crate) fn validate_full_name(at: &str, name: &str, errors: &mut Errors) {
    if name.is_empty() {
        errors.required(at, "");
        return;
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    let problems = validate_name::dns_subdomain(name);
    if !problems.is_empty() {
        errors.invalid_each(at, name, problems);
    } else if !name.contains('.') {
        let why = "should be a domain with at least two segments separated by dots";
        errors.invalid(at, &name.into(), why);
    }
    for label in name.split('.').filter(|label| label.len() > validate_name::LABEL_LENGTH_MAX) {
        errors.invalid_each(at, label, validate_name::dns_label(label));
    }
}

/// Checks a path with a domain in front, such as `example.com/controller`.
pub(crate) fn validate_domain_path(at: &str, text: &str, errors: &mut Errors) {
    let Some((domain, path)) = text.split_once('/').filter(|(d, p)| !d.is_empty() && !p.is_empty())
    else {
        let why = "must be a domain-prefixed path (such as \"acme.io/foo\")";
        errors.invalid(at, &text.into(), why);
        return;
    };
    errors.invalid_each(at, domain, validate_name::dns_subdomain(domain));
    let good = |b: u8| b.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&b);
    if !path.bytes().all(good) {
        let why = "a valid path must consist of alphanumeric characters and \"/-._~%!$&'()*+,;=:\" (regex used for \
                   validation is '^[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+$')";
        errors.invalid(at, &Value::from(path), why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_only_smaller_ones_of_its_family() {
        let network = |text| Network::parse(text).expect("a network");
        let outer = network("10.0.0.0/8");
        assert!(outer.strictly_holds(network("10.1.0.0/16")));
        assert!(!outer.strictly_holds(network("10.0.0.0/8")));
        assert!(!outer.strictly_holds(network("11.0.0.0/16")));
        assert!(!outer.strictly_holds(network("2001:db8::/32")));
        assert!(network("::/0").strictly_holds(network("2001:db8::/32")));
        assert_eq!(network("10.1.2.3/8").canonical(), "10.0.0.0/8");
        for bad in ["", "10.0.0.0", "10.0.0.0/33", "10.0.0/8", "::/129", "10.0.0.0/+8"] {
            assert_eq!(Network::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn addresses_of_no_endpoint_are_refused() {
        for bad in
            ["127.0.0.1", "::1", "0.0.0.0", "169.254.1.1", "fe80::1", "224.0.0.5", "ff02::1", "x"]
        {
            let mut errors = Errors::default();
            validate_reachable("at", bad, &mut errors);
            assert_eq!(errors.0.len(), 1, "{bad}");
        }
        let mut errors = Errors::default();
        validate_reachable("at", "10.1.2.3", &mut errors);
        assert!(errors.0.is_empty());
    }
}
