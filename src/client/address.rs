//! Which addresses are not for the whole Internet: where a server's word must not lead.

use std::net::{IpAddr, Ipv6Addr, ToSocketAddrs};

use reqwest::Url;

/// Is it an address of a private network, and of nothing else? Of one that has a public address too, its answers do not
/// lead inside.
pub(super) fn is_within(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if bare.parse::<IpAddr>().is_ok() || bare == "localhost" || bare.ends_with(".localhost") {
        return is_private(url);
    }
    let port = url.port_or_known_default().unwrap_or(443);
    let found = (bare, port).to_socket_addrs().map(Vec::from_iter);
    found.is_ok_and(|all| !all.is_empty() && all.iter().all(|one| not_public(one.ip())))
}

/// Is it, or does its name lead to, an address that is not the public's? A name that leads nowhere is left
/// to whoever connects: a proxy may know it.
pub(super) fn is_private(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = bare.parse() {
        return not_public(address);
    }
    if bare == "localhost" || bare.ends_with(".localhost") {
        return true;
    }
    let port = url.port_or_known_default().unwrap_or(443);
    (bare, port)
        .to_socket_addrs()
        .is_ok_and(|mut all| all.any(|address| not_public(address.ip())))
}

/// Addresses that are not for the whole Internet (IANA special-purpose registries).
pub(super) fn not_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            address.is_private()
                || address.is_loopback()
                || address.is_link_local()
                || address.is_unspecified()
                || address.is_broadcast()
                || address.is_documentation()
                || address.is_multicast()
                || a == 0
                || a >= 240
                || (a == 100 && (b & 0xc0) == 64)
                || (a == 192 && b == 0 && c == 0)
                || (a == 198 && (b & 0xfe) == 18)
        }
        IpAddr::V6(address) => {
            if let Some(mapped) = embedded(address) {
                return not_public(IpAddr::V4(mapped));
            }
            let [first, second, third, ..] = address.segments();
            address.is_loopback()
                // Old and local ways to write addresses of IPv4 into them: nobody's public server has one.
                || first == 0
                || (first == 0x2001 && second == 0)
                || (first == 0x64 && second == 0xff9b && third == 1)
                || address.is_unspecified()
                || address.is_multicast()
                || (first & 0xfe00) == 0xfc00
                || (first & 0xffc0) == 0xfe80
                || (first & 0xffc0) == 0xfec0
                || (first == 0x2001 && second == 0xdb8)
        }
    }
}

/// The IPv4 address that is written into one of IPv6: mapped, translated (`64:ff9b::/96`), 6to4.
fn embedded(address: Ipv6Addr) -> Option<std::net::Ipv4Addr> {
    let ([0, 0, 0, 0, 0, 0xffff, high, low]
    | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
    | [0x2002, high, low, ..]) = address.segments()
    else {
        return None;
    };
    Some((u32::from(high) << 16 | u32::from(low)).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_are_not_the_publics() {
        for private in [
            "http://127.0.0.1:1/x",
            "http://10.1.2.3",
            "http://169.254.169.254/latest/meta-data",
            "http://100.64.0.1",
            "http://[::1]/",
            "http://[::ffff:10.0.0.1]/",
            "http://[64:ff9b::7f00:1]/",
            "http://[2002:7f00:1::]/",
            "http://[fd00::1]/",
            "http://[::7f00:1]/",
            "http://[2001:0:1::1]/",
            "http://[64:ff9b:1::1]/",
            "http://localhost/",
            "http://0x7f.1/",
            "http://2130706433/",
        ] {
            assert!(is_private(&Url::parse(private).unwrap()), "{private}");
        }
        for public in ["http://8.8.8.8", "http://[2606:4700::1111]/"] {
            assert!(!is_private(&Url::parse(public).unwrap()), "{public}");
        }
    }
}
