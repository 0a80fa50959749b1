//! The addresses of this machine, as the kernel lists them in `/proc/net`: without libc's `getifaddrs`, which would need
//! `unsafe`. Where there is no `/proc`, as in an empty root, none are known.

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;

/// Flags of an IPv6 address (`linux/if_addr.h`): temporary, deprecated, tentative. None of them is one to be reached by.
const PASSING: u32 = 0x01 | 0x20 | 0x40;

/// Addresses that other machines may reach this one by: no loopback, no link-local, nothing temporary. In order.
#[must_use]
pub fn addresses() -> Vec<IpAddr> {
    let four = std::fs::read_to_string("/proc/net/fib_trie").unwrap_or_default();
    let six = std::fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    let mut all: Vec<IpAddr> = ipv4(&four).map(IpAddr::from).chain(ipv6(&six).map(IpAddr::from)).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// `|-- 10.0.0.5` and in the next line `/32 host LOCAL`: an address of this machine.
fn ipv4(fib_trie: &str) -> impl Iterator<Item = Ipv4Addr> {
    let lines = fib_trie.lines().map(str::trim_start);
    let pairs = lines.clone().zip(lines.skip(1)).filter(|(_, next)| next.starts_with("/32 host LOCAL"));
    let found = pairs.filter_map(|(line, _)| line.strip_prefix("|-- ")?.parse::<Ipv4Addr>().ok());
    found.filter(|address| !address.is_loopback() && !address.is_link_local())
}

/// Address as 32 hex digits, device number, prefix length, scope, flags, device.
fn ipv6(if_inet6: &str) -> impl Iterator<Item = Ipv6Addr> {
    if_inet6.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let address = Ipv6Addr::from(u128::from_str_radix(words.next()?, 16).ok()?);
        let flags = u32::from_str_radix(words.nth(3)?, 16).ok()?;
        let to_reach = !address.is_loopback() && !address.is_unicast_link_local() && flags & PASSING == 0;
        to_reach.then_some(address)
    })
}

#[cfg(test)]
mod tests {
    use super::ipv4;
    use super::ipv6;

    #[test]
    fn the_kernels_lists_are_understood() {
        let fib_trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     +-- 10.0.0.0/24 2 0 2\n        |-- 10.0.0.0\n           /24 link UNICAST\n        |-- 10.0.0.5\n           /32 host LOCAL\n        |-- 10.0.0.255\n           /32 link BROADCAST\n        |-- 127.0.0.1\n           /32 host LOCAL\n        |-- 169.254.1.1\n           /32 host LOCAL\n";
        assert_eq!(ipv4(fib_trie).map(|a| a.to_string()).collect::<Vec<_>>(), ["10.0.0.5"]);
        let if_inet6 = "00000000000000000000000000000001 01 80 10 80       lo\nfe80000000000000021122fffe334455 02 40 20 80     eth0\n\
            fd000000000000000000000000000005 02 40 00 80     eth0\nfd000000000000001111222233334444 02 40 00 01     eth0\nshort\n";
        assert_eq!(ipv6(if_inet6).map(|a| a.to_string()).collect::<Vec<_>>(), ["fd00::5"]);
        assert_eq!((ipv4("").count(), ipv6("zz 1 2 3 4").count()), (0, 0));
    }
}
