//! Whether anybody has an address on the networks of this machine, as the kernel knows from having asked.

use std::fs::File;
use std::io::Read as _;
use std::net::IpAddr;

use crate::base::limits::NEIGHBOURS_BYTES_MAX;

/// The kernel's list of IPv4 neighbours.
const LIST: &str = "/proc/net/arp";

/// Whether the kernel asked who has this address, and nobody said so. Only IPv4 addresses of networks that this machine is a
/// part of are ever asked for.
#[must_use]
pub fn is_nobodys(address: IpAddr) -> bool {
    matches!(address.to_canonical(), IpAddr::V4(_)) && is_unanswered(&read(), address.to_canonical())
}

/// Empty where it cannot be read: then nobody knows.
fn read() -> String {
    let mut list = String::new();
    let read = File::open(LIST).and_then(|file| file.take(NEIGHBOURS_BYTES_MAX).read_to_string(&mut list));
    read.map_or_else(|_| String::new(), |_| list)
}

/// `list`: a line of titles, then lines of address, type, flags, and more. Flags of 0: there was no answer.
fn is_unanswered(list: &str, address: IpAddr) -> bool {
    list.lines().skip(1).any(|line| {
        let mut parts = line.split_whitespace();
        let is_it = parts.next().and_then(|text| text.parse::<IpAddr>().ok()) == Some(address);
        is_it && parts.nth(1) == Some("0x0")
    })
}

#[cfg(test)]
mod tests {
    use super::is_unanswered;

    #[test]
    fn who_was_asked_for_in_vain_is_nobody() {
        let list = "IP address       HW type     Flags       HW address            Mask     Device\n\
                    10.99.7.1        0x1         0x2         6e:0f:5e:00:00:01     *        eth0\n\
                    10.99.7.3        0x1         0x0         00:00:00:00:00:00     *        eth0\n";
        assert!(is_unanswered(list, [10, 99, 7, 3].into()));
        assert!(!is_unanswered(list, [10, 99, 7, 1].into()));
        assert!(!is_unanswered(list, [10, 99, 7, 2].into()));
        assert!(!is_unanswered("", [10, 99, 7, 2].into()));
    }
}
