//! What an address is: public, or something that a stranger must not reach through us.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AddressKind {
    /// Of the open network.
    Public,
    /// This machine.
    Loopback,
    /// Of a private network, shared address space of providers included.
    Private,
    /// Of the local link, where cloud metadata services live.
    LinkLocal,
    /// For documentation, multicast, broadcast, "this network" and the like.
    Reserved,
    /// An address of version 6 that hides one of version 4, which a translator would call.
    Translated,
}

impl fmt::Display for AddressKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Public => "a public address",
            Self::Loopback => "an address of this machine",
            Self::Private => "a private address",
            Self::LinkLocal => "a link-local address, as of a metadata service",
            Self::Reserved => "a reserved address",
            Self::Translated => "an address that hides another one",
        })
    }
}

/// The address that a URL's host is, if it is one. URLs have turned octal, hexadecimal and short
/// forms into the usual one.
pub(super) fn literal(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    bare.parse().ok()
}

impl AddressKind {
    /// What an address is.
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => of_v4(address),
            IpAddr::V6(address) => of_v6(address),
        }
    }
}

fn of_v4(address: Ipv4Addr) -> AddressKind {
    match address.octets() {
        [127, ..] => AddressKind::Loopback,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] | [100, 64..=127, ..] => {
            AddressKind::Private
        }
        [169, 254, ..] => AddressKind::LinkLocal,
        // "This network"; protocol assignments, documentation, 6to4 relays; benchmarks; documentation.
        [0, ..]
        | [192, 0, 0 | 2, _]
        | [192, 88, 99, _]
        | [198, 18..=19, ..]
        | [198, 51, 100, _]
        | [203, 0, 113, _] => AddressKind::Reserved,
        // Multicast, future use, broadcast.
        [224..=255, ..] => AddressKind::Reserved,
        _ => AddressKind::Public,
    }
}

fn of_v6(address: Ipv6Addr) -> AddressKind {
    if address.is_loopback() {
        return AddressKind::Loopback;
    }
    match address.segments() {
        // Unspecified, and the old way to write an address of version 4.
        [0, 0, 0, 0, 0, 0, ..] => AddressKind::Translated,
        // NAT64, its local-use prefix, the discard prefix and the like.
        [0x64, 0xff9b, ..] => AddressKind::Translated,
        [0x100, 0, 0, ..] => AddressKind::Reserved,
        // Teredo and other assignments; documentation.
        [0x2001, 0..=0x1ff, ..] => AddressKind::Translated,
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => AddressKind::Reserved,
        // 6to4.
        [0x2002, ..] => AddressKind::Translated,
        [0xfc00..=0xfdff, ..] => AddressKind::Private,
        [0xfe80..=0xfeff, ..] => AddressKind::LinkLocal,
        [0x2000..=0x3fff, ..] => AddressKind::Public,
        // Everything outside the global unicast range.
        _ => AddressKind::Reserved,
    }
}
