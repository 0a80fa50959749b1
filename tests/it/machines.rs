//! Machines for tests: network namespaces with a cable each to a switch in one more of them, and where a test wants it one
//! cable to the host. Gone when dropped, also by a panic.

use std::process::Command;

fn run(words: &[&str]) {
    let ended = Command::new(words[0]).args(&words[1..]).output().unwrap();
    assert!(ended.status.success(), "{words:?}: {}", String::from_utf8_lossy(&ended.stderr));
}

/// Namespaces around one that has the switch.
pub struct Machines {
    prefix: String,
    subnet: String,
    count: usize,
    /// The host's end of its cable.
    host: Option<String>,
}

impl Machines {
    /// Machines that reach each other and nothing else.
    pub fn apart(count: usize) -> Self {
        Self::new(count, "10.77.0".to_owned(), None)
    }

    /// Machines that the host reaches too.
    pub fn beside_host(count: usize) -> Self {
        // The host has one table of routes: tests beside this one must not have the same addresses.
        let pid = std::process::id();
        Self::new(count, format!("10.231.{}", pid % 256), Some(format!("rf{pid}")))
    }

    fn new(count: usize, subnet: String, host: Option<String>) -> Self {
        let net = Self { prefix: format!("ringfort-{}", std::process::id()), subnet, count, host };
        let switch = net.space(0);
        run(&["ip", "netns", "add", &switch]);
        run(&["ip", "-n", &switch, "link", "add", "switch", "type", "bridge"]);
        run(&["ip", "-n", &switch, "link", "set", "switch", "up"]);
        for number in 1..=count {
            let (space, port, address) = (net.space(number), format!("port{number}"), net.address(number) + "/24");
            run(&["ip", "netns", "add", &space]);
            run(&["ip", "-n", &space, "link", "set", "lo", "up"]);
            let cable = ["link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", &space];
            run(&[&["ip", "-n", &switch][..], &cable].concat());
            run(&["ip", "-n", &switch, "link", "set", &port, "master", "switch", "up"]);
            run(&["ip", "-n", &space, "address", "add", &address, "dev", "eth0"]);
            run(&["ip", "-n", &space, "link", "set", "eth0", "up"]);
        }
        if let Some(host) = &net.host {
            run(&["ip", "link", "add", host, "type", "veth", "peer", "name", "host", "netns", &switch]);
            run(&["ip", "-n", &switch, "link", "set", "host", "master", "switch", "up"]);
            run(&["ip", "address", "add", &(net.address(254) + "/24"), "dev", host]);
            run(&["ip", "link", "set", host, "up"]);
        }
        net
    }

    /// The name of a machine's namespace.
    pub fn space(&self, number: usize) -> String {
        format!("{}-{number}", self.prefix)
    }

    pub fn address(&self, number: usize) -> String {
        format!("{}.{number}", self.subnet)
    }

    fn filter(&self, number: usize, words: &[&str]) {
        run(&[&["ip", "netns", "exec", &self.space(number), "iptables", "-w"], words].concat());
    }

    /// Nothing that it sends arrives anywhere; it hears all.
    pub fn silence(&self, number: usize) {
        for other in (1..=self.count).filter(|other| *other != number) {
            self.filter(other, &["-A", "INPUT", "-s", &self.address(number), "-j", "DROP"]);
        }
    }

    /// Nothing arrives at it; what it sends does.
    pub fn deafen(&self, number: usize) {
        self.filter(number, &["-A", "INPUT", "-s", &format!("{}.0/24", self.subnet), "-j", "DROP"]);
    }

    pub fn heal(&self) {
        (1..=self.count).for_each(|number| self.filter(number, &["-F", "INPUT"]));
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        if let Some(host) = &self.host {
            let _gone = Command::new("ip").args(["link", "delete", host]).output();
        }
        for number in 0..=self.count {
            let _gone = Command::new("ip").args(["netns", "delete", &self.space(number)]).output();
        }
    }
}
