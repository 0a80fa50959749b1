//! By which interface this machine sends to an address: one that a VPN or somebody's route took leads elsewhere.

use std::fs::File;
use std::io::Read as _;
use std::net::IpAddr;
use std::net::Ipv4Addr;

use crate::base::limits::ROUTES_BYTES_MAX;

/// The kernel's main table of IPv4 routes.
const TABLE: &str = "/proc/net/route";
/// Of a route: it is in force (linux/route.h).
const UP: u32 = 1;

/// The interface, as far as the main table says: rules for some senders or users are not followed.
#[must_use]
pub fn interface_to(address: IpAddr) -> Option<String> {
    let IpAddr::V4(address) = address.to_canonical() else { return None };
    let mut table = String::new();
    File::open(TABLE).ok()?.take(ROUTES_BYTES_MAX).read_to_string(&mut table).ok()?;
    out_of(&table, address).map(ToOwned::to_owned)
}

/// `table`: a line of titles, then lines of interface, destination, gateway, flags, two counts, metric, mask, and more, the
/// numbers of addresses in the order of bytes of the machine. The narrowest route wins, of those the one that costs least.
fn out_of(table: &str, address: Ipv4Addr) -> Option<&str> {
    let address = u32::from_ne_bytes(address.octets());
    let routes = table.lines().skip(1).filter_map(|line| {
        let parts: Vec<&str> = line.split_whitespace().collect();
        let number = |at: usize| u32::from_str_radix(parts.get(at)?, 16).ok();
        let (to, flags, mask) = (number(1)?, number(3)?, number(7)?);
        let metric: u32 = parts.get(6)?.parse().ok()?;
        (flags & UP != 0 && address & mask == to).then_some((*parts.first()?, mask.count_ones(), metric))
    });
    routes.max_by_key(|(_, bits, metric)| (*bits, std::cmp::Reverse(*metric))).map(|(interface, ..)| interface)
}

#[cfg(all(test, target_endian = "little"))]
mod tests {
    use super::out_of;

    #[test]
    fn the_narrowest_route_in_force_wins_and_of_those_the_cheapest() {
        let table = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
                     eth0\t00000000\t0100000A\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
                     eth1\t00000000\t0100000A\t0003\t0\t0\t50\t00000000\t0\t0\t0\n\
                     eth0\t0000000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
                     vpn0\t0300000A\t00000000\t0005\t0\t0\t0\tFFFFFFFF\t0\t0\t0\n\
                     old0\t0400000A\t00000000\t0000\t0\t0\t0\tFFFFFFFF\t0\t0\t0\n";
        let to = |last: u8| out_of(table, [10, 0, 0, last].into());
        assert_eq!((to(2), to(3), to(4)), (Some("eth0"), Some("vpn0"), Some("eth0")));
        assert_eq!(out_of(table, [192, 0, 2, 1].into()), Some("eth1"));
        assert_eq!((out_of("", [10, 0, 0, 2].into()), out_of("a b\nc", [10, 0, 0, 2].into())), (None, None));
    }
}
