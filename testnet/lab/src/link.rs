//! The links of containers: how much goes through, and to whom nothing does. With the tools of this machine, in the network
//! namespaces of the containers.

use std::net::Ipv4Addr;

use crate::engine::command;
use crate::error::LabError;
use crate::relay::{DEVICE, MARK};

/// Bytes of a full Ethernet frame, of the packet in it, and of TCP's payload in that: IPv4, TCP with timestamps.
const FRAME: f64 = 1514.0;
const PACKET: f64 = 1500.0;
const PAYLOAD: f64 = 1448.0;
/// What a token bucket lets through at once, in bytes: little against seconds of traffic, more than a frame.
const BURST: u32 = 16 << 10;
/// The most bytes that wait in a link's queue: some forty frames, as at a home router. What comes when it is full is lost.
const QUEUE: u32 = 64 << 10;
/// The table of partitions in a container's firewall.
const TABLE: &str = "phase_testnet";

/// The network namespace of a container, by its process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    pub(crate) pid: u32,
    /// Whether what it sends goes through a relay.
    pub(crate) is_relayed: bool,
}

impl Link {
    /// Limits what the container sends, in bytes of TCP payload per second: before it goes through a relay. Frames that wait
    /// are not lost by a change.
    pub(crate) fn limit_up(self, rate: f64) -> Result<(), LabError> {
        let (device, size) = if self.is_relayed { (DEVICE, PACKET) } else { ("eth0", FRAME) };
        let qdisc = bucket(rate, size);
        let set = |verb| {
            let words = ["tc", "qdisc", verb, "dev", device, "root"].into_iter();
            self.inside(&words.chain(qdisc.iter().map(String::as_str)).collect::<Vec<_>>()).map(drop)
        };
        set("change").or_else(|_| set("replace"))
    }

    /// Limits what the container receives: at the other end of its wire.
    pub(crate) fn limit_down(self, rate: f64) -> Result<(), LabError> {
        let other = self.other_end()?;
        let qdisc = bucket(rate, FRAME);
        let words = ["qdisc", "replace", "dev", &other, "root"].into_iter().chain(qdisc.iter().map(String::as_str));
        command("tc", &words.collect::<Vec<_>>()).map(drop)
    }

    /// Leads what the container sends to `subnet` through its relay, this machine (`gateway`) excepted.
    pub(crate) fn lead_through_relay(self, subnet: &str, gateway: Ipv4Addr, own: Ipv4Addr) -> Result<(), LabError> {
        let (mark, gateway, own) = (MARK.to_string(), gateway.to_string(), own.to_string());
        // To packets that have come from outside the routes of this table do not matter: nothing is forwarded.
        self.inside(&["ip", "route", "add", "throw", &gateway, "table", &mark])?;
        self.inside(&["ip", "route", "add", subnet, "dev", DEVICE, "src", &own, "table", &mark])?;
        self.inside(&["ip", "rule", "add", "not", "fwmark", &mark, "lookup", &mark]).map(drop)
    }

    /// Drops whatever comes from these addresses. Replaces what was dropped before.
    pub(crate) fn drop_from(self, addresses: &[Ipv4Addr]) -> Result<(), LabError> {
        self.heal();
        if addresses.is_empty() {
            return Ok(());
        }
        let list: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        let rule = format!("{{ {} }}", list.join(", "));
        self.inside(&["nft", "add", "table", "ip", TABLE])?;
        let hook = "{ type filter hook input priority 0 ; policy accept ; }";
        self.inside(&["nft", "add", "chain", "ip", TABLE, "input", hook])?;
        self.inside(&["nft", "add", "rule", "ip", TABLE, "input", "ip", "saddr", &rule, "drop"]).map(drop)
    }

    /// Drops nothing any more.
    pub(crate) fn heal(self) {
        // There may have been nothing.
        let _ = self.inside(&["nft", "delete", "table", "ip", TABLE]);
    }

    /// The name of the wire's end on this machine.
    fn other_end(self) -> Result<String, LabError> {
        let unknown = |output: &str| LabError::Failed {
            command: "ip -o link".to_owned(),
            output: format!("the other end of a container's wire is not to be found: {output}"),
        };
        let inside = self.inside(&["ip", "-o", "link", "show", "eth0"])?;
        let number = inside.split_once("eth0@if").map(|(_, rest)| rest);
        let number = number.and_then(|rest| rest.split(':').next()).ok_or_else(|| unknown(&inside))?;
        let all = command("ip", &["-o", "link"])?;
        let line = all.lines().find(|line| line.split(':').next() == Some(number)).ok_or_else(|| unknown(number))?;
        let name = line.split(':').nth(1).and_then(|name| name.trim().split('@').next());
        name.map(str::to_owned).ok_or_else(|| unknown(line))
    }

    fn inside(self, words: &[&str]) -> Result<String, LabError> {
        let pid = self.pid.to_string();
        command("nsenter", &["-t", &pid, "-n"].into_iter().chain(words.iter().copied()).collect::<Vec<_>>())
    }
}

/// Of so many bytes of payload per second, in packets that count as so many bytes at most.
fn bucket(rate: f64, size: f64) -> [String; 7] {
    let bits = format!("{:.0}bit", rate * 8.0 * size / PAYLOAD);
    ["tbf", "rate", &bits, "burst", &BURST.to_string(), "limit", &QUEUE.to_string()].map(str::to_owned)
}
