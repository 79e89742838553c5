//! Limits the rates of the containers' network links, and partitions the network. Uses the host's tools (`tc`, `nft`,
//! `ip`) in the network namespaces of the containers.

use std::net::Ipv4Addr;

use crate::engine::command;
use crate::error::LabError;
use crate::relay::{DEVICE, MARK};

/// The size of a full Ethernet frame, in bytes.
const FRAME: f64 = 1514.0;
/// The size of the IPv4 packet in a full Ethernet frame, in bytes.
const PACKET: f64 = 1500.0;
/// The size of the TCP payload in a full Ethernet frame, in bytes: [`PACKET`] without the IPv4 header of 20 bytes and
/// the TCP header of 32 bytes, which contains a timestamp.
const PAYLOAD: f64 = 1448.0;
/// The burst of a token bucket in bytes: more than one frame, but little compared with a second of traffic.
const BURST: u32 = 16 << 10;
/// The length of the queue of a network link, in bytes: about forty frames, as in a home router. A full queue drops
/// packets.
const QUEUE: u32 = 64 << 10;
/// The name of the nftables table that implements a partition in a container.
const TABLE: &str = "phase_testnet";

/// The network link of a container.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    /// The process id of the container. Commands for the link run in the network namespace of this process.
    pub(crate) pid: u32,
    /// Whether the packets that the container sends go through a relay, which adds latency.
    pub(crate) is_relayed: bool,
}

impl Link {
    /// Limits the container's upload, in bytes of TCP payload per second. A change of the limit keeps the queued
    /// packets. In a container with a relay, the limit applies before the relay.
    pub(crate) fn limit_up(self, rate: f64) -> Result<(), LabError> {
        let (device, size) = if self.is_relayed { (DEVICE, PACKET) } else { ("eth0", FRAME) };
        let qdisc = token_bucket(rate, size);
        let set = |verb| {
            let words = ["tc", "qdisc", verb, "dev", device, "root"].into_iter();
            self.inside(&words.chain(qdisc.iter().map(String::as_str)).collect::<Vec<_>>()).map(drop)
        };
        set("change").or_else(|_| set("replace"))
    }

    /// Limits the container's download, in bytes of TCP payload per second. The limit applies at this machine's end of
    /// the container's virtual Ethernet pair.
    pub(crate) fn limit_down(self, rate: f64) -> Result<(), LabError> {
        let other = self.other_end()?;
        let qdisc = token_bucket(rate, FRAME);
        let words = ["qdisc", "replace", "dev", &other, "root"].into_iter().chain(qdisc.iter().map(String::as_str));
        command("tc", &words.collect::<Vec<_>>()).map(drop)
    }

    /// Routes packets from the container to `subnet` through the container's relay, except packets to this machine,
    /// whose address is `gateway`.
    pub(crate) fn route_through_relay(self, subnet: &str, gateway: Ipv4Addr, own: Ipv4Addr) -> Result<(), LabError> {
        let (mark, gateway, own) = (MARK.to_string(), gateway.to_string(), own.to_string());
        // These routes apply only to packets that the container itself sends, because a container does not forward
        // packets.
        self.inside(&["ip", "route", "add", "throw", &gateway, "table", &mark])?;
        self.inside(&["ip", "route", "add", subnet, "dev", DEVICE, "src", &own, "table", &mark])?;
        self.inside(&["ip", "rule", "add", "not", "fwmark", &mark, "lookup", &mark]).map(drop)
    }

    /// Drops all packets that the container receives from these addresses. Replaces the addresses of an earlier call.
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

    /// Lets the container receive packets from all addresses again.
    pub(crate) fn heal(self) {
        // The command fails if the container is not partitioned. Then there is nothing to do.
        let _ = self.inside(&["nft", "delete", "table", "ip", TABLE]);
    }

    /// Returns the name of this machine's end of the container's virtual Ethernet pair.
    fn other_end(self) -> Result<String, LabError> {
        let unknown = |output: &str| LabError::Failed {
            command: "ip -o link".to_owned(),
            output: format!("cannot find this machine's end of a container's network link: {output}"),
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

/// Returns the arguments of `tc` for a token bucket that lets `rate` bytes of TCP payload through per second. `size` is
/// the number of bytes that the kernel counts for a full packet on this device.
fn token_bucket(rate: f64, size: f64) -> [String; 7] {
    let bits = format!("{:.0}bit", rate * 8.0 * size / PAYLOAD);
    ["tbf", "rate", &bits, "burst", &BURST.to_string(), "limit", &QUEUE.to_string()].map(str::to_owned)
}
