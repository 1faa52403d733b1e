//! What an IP address is: whether it is of the Internet, and if not, of what. Resolves nothing, connects to
//! nothing.
//!
//! Invariants:
//! - **An address inside another one counts**: IPv4 in IPv6 is judged as IPv4.
//! - **The metadata services of clouds are opened by nobody**, nor is what is no address of one machine.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::fmt::{Display, Formatter};

/// What an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Of the Internet.
    Public,
    /// This machine.
    Loopback,
    /// RFC 1918.
    Private,
    /// RFC 6598, behind a carrier's NAT.
    Shared,
    /// RFC 2544.
    Benchmark,
    /// `fc00::/7`.
    UniqueLocal,
    /// RFC 6052: an IPv4 address that a gateway translates to behind our back.
    Nat64,
    /// A cloud's metadata service, and with it the machine's credentials.
    Metadata,
    /// `0.0.0.0/8`, `::`.
    Unspecified,
    /// One hop.
    LinkLocal,
    /// `fec0::/10`, deprecated.
    SiteLocal,
    /// For examples.
    Documentation,
    /// Kept by a standard for something else.
    Reserved,
    /// To many.
    Multicast,
    /// IPv4 in a deprecated IPv6 form.
    Disguised,
    /// RFC 8215.
    LocalNat64,
    /// 6to4 or Teredo.
    Tunnel,
}

impl Class {
    /// Of `address`.
    pub fn of(address: IpAddr) -> Class {
        match address {
            IpAddr::V4(v4) => of_v4(v4),
            IpAddr::V6(v6) => of_v6(v6),
        }
    }

    /// Whether whoever names its network may reach it: loopback, private, shared and benchmark networks, unique
    /// local ones, and a gateway of NAT64. Everything else that is not public stays closed.
    pub fn is_opened_by_name(self) -> bool {
        matches!(
            self,
            Class::Loopback
                | Class::Private
                | Class::Shared
                | Class::Benchmark
                | Class::UniqueLocal
                | Class::Nat64
        )
    }

    /// As people read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Class::Public => "a public address",
            Class::Loopback => "a loopback address",
            Class::Private => "a private address",
            Class::Shared => "a shared (CGNAT) address",
            Class::Benchmark => "a benchmark address",
            Class::UniqueLocal => "a unique local address",
            Class::Nat64 => "a NAT64 address",
            Class::Metadata => "the metadata service of a cloud",
            Class::Unspecified => "an unspecified address",
            Class::LinkLocal => "a link-local address",
            Class::SiteLocal => "a site-local address",
            Class::Documentation => "a documentation address",
            Class::Reserved => "a reserved address",
            Class::Multicast => "a multicast address",
            Class::Disguised => "an IPv4 address in disguise",
            Class::LocalNat64 => "a local NAT64 address",
            Class::Tunnel => "a tunnel address",
        }
    }
}

impl Display for Class {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why `address` may not be reached, or `None`. `private` opens every network that can be opened by name.
pub fn refusal(address: IpAddr, private: bool) -> Option<&'static str> {
    let class = Class::of(address);
    match class {
        Class::Public => None,
        // What stands behind the gateway has to be open as well; that it is one is told of public ones alone.
        _ if class.is_opened_by_name() && private => None,
        _ => Some(class.as_str()),
    }
}

fn of_v4(address: Ipv4Addr) -> Class {
    match address.octets() {
        // Alibaba's metadata service stands in the shared range, Oracle's in the reserved one, Amazon's and
        // others' in link-local; Azure gives a machine its secrets at an address that looks like any other.
        [100, 100, 100, 200] | [169, 254, 169, 254] | [168, 63, 129, 16] | [192, 0, 0, 192] => {
            Class::Metadata
        }
        [0, ..] => Class::Unspecified,
        [169, 254, ..] => Class::LinkLocal,
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Class::Documentation,
        [192, 0, 0, _] | [192, 88, 99, _] => Class::Reserved,
        [224..=239, ..] => Class::Multicast,
        [240..=255, ..] => Class::Reserved,
        [127, ..] => Class::Loopback,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Class::Private,
        [100, 64..=127, ..] => Class::Shared,
        [198, 18..=19, ..] => Class::Benchmark,
        _ => Class::Public,
    }
}

fn of_v6(address: Ipv6Addr) -> Class {
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Class::Unspecified,
        [0, 0, 0, 0, 0, 0, 0, 1] => Class::Loopback,
        // IPv4-mapped, then the deprecated IPv4-compatible and IPv4-translated forms.
        [0, 0, 0, 0, 0, 0xffff, high, low] => of_v4(inside(high, low)),
        [0, 0, 0, 0, 0, 0, ..] | [0, 0, 0, 0, 0xffff, 0, ..] => Class::Disguised,
        // NAT64 translates to IPv4 behind our back: what it leads to counts, and that it is one when that is public.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => match of_v4(inside(high, low)) {
            Class::Public => Class::Nat64,
            other => other,
        },
        [0x64, 0xff9b, ..] => Class::LocalNat64,
        [0x2002, ..] | [0x2001, 0, ..] => Class::Tunnel,
        [0x2001, 0x0db8, ..] | [0x3fff, 0..=0x0fff, ..] => Class::Documentation,
        // IETF protocol assignments (RFC 2928), with ORCHID and benchmarks among them.
        [0x2001, 0x0001..=0x01ff, ..] | [0x0100, 0, 0, 0, ..] => Class::Reserved,
        // Amazon's network for metadata, credentials of pods, time and names; Oracle's, Scaleway's and Google's metadata.
        [0xfd00, 0x0ec2, ..]
        | [0xfd00, 0x00c1, 0, 0, 0, 0, 0xa9fe, 0xa9fe]
        | [0xfd00, 0x0042, 0, 0, 0, 0, 0, 0x0042]
        | [0xfd20, 0x00ce, 0, 0, 0, 0, 0, 0x0254] => Class::Metadata,
        [0xfc00..=0xfdff, ..] => Class::UniqueLocal,
        [0xfe80..=0xfebf, ..] => Class::LinkLocal,
        [0xfec0..=0xfeff, ..] => Class::SiteLocal,
        [0xff00..=0xffff, ..] => Class::Multicast,
        // Nothing else of IPv6 is given out.
        [0x2000..=0x3fff, ..] => Class::Public,
        _ => Class::Reserved,
    }
}

fn inside(high: u16, low: u16) -> Ipv4Addr {
    let [a, b] = high.to_be_bytes();
    let [c, d] = low.to_be_bytes();
    Ipv4Addr::new(a, b, c, d)
}

/// The IPv4 address that `address` leads to, when it holds one that counts in its place: in an IPv4-mapped
/// one, and behind NAT64.
pub fn leads_to(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => match v6.segments() {
            [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
                IpAddr::V4(inside(high, low))
            }
            _ => address,
        },
        IpAddr::V4(_) => address,
    }
}

/// A network in CIDR notation: `10.0.0.0/8`, `fd00::/8`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// Reads it; no bit past the prefix may be set, and an address inside another one is written as itself.
    pub fn parse(text: &str) -> Result<Network, String> {
        let wrong = |what: &str| format!("`{text}` is not a network: {what}");
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address
            .parse()
            .map_err(|_| wrong("write it as in `10.0.0.0/8`"))?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => width,
            Some(bits) => {
                let number = bits.parse().ok().filter(|number| *number <= width);
                let plain = bits.bytes().all(|b| b.is_ascii_digit());
                number
                    .filter(|_| plain)
                    .ok_or_else(|| wrong(&format!("a prefix has 0 to {width} bits")))?
            }
        };
        let network = Network { address, bits };
        if network.first() != address {
            return Err(wrong("it has bits past its prefix"));
        }
        if leads_to(address) != address && bits > 96 {
            return Err(wrong("write the IPv4 network that is in it"));
        }
        Ok(network)
    }

    /// Whether `address` is in it. One that leads to another is where that is.
    pub fn contains(&self, address: IpAddr) -> bool {
        let within = |address: IpAddr| match (self.address, address) {
            (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => {
                Network { address, ..*self }.first() == self.address
            }
            _ => false,
        };
        within(address) || within(leads_to(address))
    }

    /// Its first address.
    pub fn first(&self) -> IpAddr {
        match self.address {
            IpAddr::V4(v4) => {
                let kept = u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & kept))
            }
            IpAddr::V6(v6) => {
                let kept = u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & kept))
            }
        }
    }

    /// Its last address.
    pub fn last(&self) -> IpAddr {
        match self.first() {
            IpAddr::V4(v4) => {
                let free = u32::MAX.checked_shr(u32::from(self.bits)).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() | free))
            }
            IpAddr::V6(v6) => {
                let free = u128::MAX.checked_shr(u32::from(self.bits)).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() | free))
            }
        }
    }
}

impl Display for Network {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        #[rustfmt::skip]
        let table = [
            // address                  public only                        with `private`
            ("93.184.216.34",           "-",                               "-"),
            ("2606:2800:220:1::1",      "-",                               "-"),
            ("127.0.0.1",               "a loopback address",              "-"),
            ("127.255.255.254",         "a loopback address",              "-"),
            ("::1",                     "a loopback address",              "-"),
            ("10.0.0.1",                "a private address",               "-"),
            ("172.16.0.1",              "a private address",               "-"),
            ("172.31.255.255",          "a private address",               "-"),
            ("172.32.0.1",              "-",                               "-"),
            ("192.168.1.1",             "a private address",               "-"),
            ("100.64.0.1",              "a shared (CGNAT) address",        "-"),
            ("100.128.0.1",             "-",                               "-"),
            ("198.18.0.1",              "a benchmark address",             "-"),
            ("fc00::1",                 "a unique local address",          "-"),
            ("fd12:3456::1",            "a unique local address",          "-"),
            ("64:ff9b::8.8.8.8",        "a NAT64 address",                 "-"),
            ("64:ff9b::169.254.169.254","the metadata service of a cloud", "the metadata service of a cloud"),
            ("64:ff9b::127.0.0.1",      "a loopback address",              "-"),
            ("64:ff9b:1::1",            "a local NAT64 address",           "a local NAT64 address"),
            ("::ffff:127.0.0.1",        "a loopback address",              "-"),
            ("::ffff:10.1.2.3",         "a private address",               "-"),
            ("::ffff:8.8.8.8",          "-",                               "-"),
            ("::ffff:169.254.169.254",  "the metadata service of a cloud", "the metadata service of a cloud"),
            ("::127.0.0.1",             "an IPv4 address in disguise",     "an IPv4 address in disguise"),
            ("::ffff:0:127.0.0.1",      "an IPv4 address in disguise",     "an IPv4 address in disguise"),
            ("2002:7f00:1::",           "a tunnel address",                "a tunnel address"),
            ("2001:0:1::1",             "a tunnel address",                "a tunnel address"),
            ("169.254.169.254",         "the metadata service of a cloud", "the metadata service of a cloud"),
            ("fd00:ec2::254",           "the metadata service of a cloud", "the metadata service of a cloud"),
            ("fd00:c1::a9fe:a9fe",      "the metadata service of a cloud", "the metadata service of a cloud"),
            ("fd00:c1::1",              "a unique local address",          "-"),
            ("fd20:ce::254",            "the metadata service of a cloud", "the metadata service of a cloud"),
            ("168.63.129.16",           "the metadata service of a cloud", "the metadata service of a cloud"),
            ("::ffff:168.63.129.16",    "the metadata service of a cloud", "the metadata service of a cloud"),
            ("fd00:ec2::23",            "the metadata service of a cloud", "the metadata service of a cloud"),
            ("fd00:42::42",             "the metadata service of a cloud", "the metadata service of a cloud"),
            ("192.0.0.192",             "the metadata service of a cloud", "the metadata service of a cloud"),
            ("2001:10::1",              "a reserved address",              "a reserved address"),
            ("2001:4860:4860::8888",    "-",                               "-"),
            ("4000::1",                 "a reserved address",              "a reserved address"),
            ("fd00:ec3::23",            "a unique local address",          "-"),
            ("100.100.100.200",         "the metadata service of a cloud", "the metadata service of a cloud"),
            ("169.254.170.2",           "a link-local address",            "a link-local address"),
            ("fe80::1",                 "a link-local address",            "a link-local address"),
            ("fec0::1",                 "a site-local address",            "a site-local address"),
            ("0.0.0.0",                 "an unspecified address",          "an unspecified address"),
            ("0.1.2.3",                 "an unspecified address",          "an unspecified address"),
            ("::",                      "an unspecified address",          "an unspecified address"),
            ("224.0.0.1",               "a multicast address",             "a multicast address"),
            ("ff02::1",                 "a multicast address",             "a multicast address"),
            ("255.255.255.255",         "a reserved address",              "a reserved address"),
            ("192.0.2.1",               "a documentation address",         "a documentation address"),
            ("2001:db8::1",             "a documentation address",         "a documentation address"),
            ("100::1",                  "a reserved address",              "a reserved address"),
        ];
        for (address, public, private) in table {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(refusal(address, false).unwrap_or("-"), public, "{address} public");
            assert_eq!(
                refusal(address, true).unwrap_or("-"),
                private,
                "{address} private"
            );
        }
    }

    #[test]
    fn networks() {
        #[rustfmt::skip]
        let table = [
            // network          address                    within
            ("10.0.0.0/8",      "10.255.0.1",              true),
            ("10.0.0.0/8",      "11.0.0.0",                false),
            ("10.0.0.0/8",      "::ffff:10.1.2.3",         true),
            ("10.0.0.0/8",      "64:ff9b::10.1.2.3",       true),
            ("10.0.0.0/8",      "fd00::1",                 false),
            ("127.0.0.1",       "127.0.0.1",               true),
            ("127.0.0.1/32",    "127.0.0.2",               false),
            ("0.0.0.0/0",       "8.8.8.8",                 true),
            ("fd00::/8",        "fd12::1",                 true),
            ("::/0",            "fd12::1",                 true),
            ("fd00::/8",        "fc00::1",                 false),
        ];
        for (network, address, within) in table {
            let read = Network::parse(network).unwrap();
            assert_eq!(
                read.contains(address.parse().unwrap()),
                within,
                "{network} {address}"
            );
            assert_eq!(Network::parse(&read.to_string()), Ok(read));
        }
        let (first, last) = (
            Network::parse("100.64.0.0/10").unwrap().first(),
            Network::parse("100.64.0.0/10").unwrap().last(),
        );
        assert_eq!(
            (first.to_string(), last.to_string()),
            ("100.64.0.0".into(), "100.127.255.255".into())
        );
        for wrong in [
            "",
            "10.0.0.1/8",
            "10.0.0.0/33",
            "10.0.0.0/+8",
            "10/8",
            "host/8",
            "::ffff:10.0.0.0/104",
            "fe80::%1/64",
        ] {
            assert!(Network::parse(wrong).is_err(), "{wrong}");
        }
    }
}
