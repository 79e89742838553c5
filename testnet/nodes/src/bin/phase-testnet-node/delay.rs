//! Latency for a link, where the kernel has none to give: packets come out of a network device that is made here, wait, and go
//! on their way.

use std::collections::VecDeque;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use socket2::{Domain, Protocol, Socket, Type};
use tun_rs::{DeviceBuilder, SyncDevice};

/// The most bytes that wait: 64 MiB are half a second of a gigabit. What comes beyond is lost.
const MAX_WAITING: usize = 64 << 20;
/// The largest packet: that of an Ethernet frame.
const MTU: u16 = 1500;
/// Raw IPv4 with a header of our own, RFC 791's reserved protocol number.
const IPPROTO_RAW: i32 = 255;

/// Let each packet that a container sends wait for a while
///
/// Runs in the container's network, makes a device there, says {"ready":true}, and sends on whatever is routed through the
/// device. When the process ends for which it is there, it says how many packets there were, and ends too.
#[derive(clap::Args)]
pub(crate) struct Delay {
    /// How long
    #[arg(long, value_name = "TIME")]
    latency: humantime::Duration,
    /// The name of the device
    #[arg(long, value_name = "NAME")]
    device: String,
    /// The firewall mark of packets that have waited: they are not to be routed through the device again
    #[arg(long, value_name = "NUMBER")]
    mark: u32,
    /// The process with whose end it ends
    #[arg(long, value_name = "PID")]
    beside: i32,
}

impl Delay {
    pub(crate) fn run(self) -> Result<(), String> {
        let process = Pid::from_raw(self.beside).ok_or("process 0 is none")?;
        let process = pidfd_open(process, PidfdFlags::empty())
            .map_err(|error| format!("cannot wait for the end of process {}: {error}", self.beside))?;
        let device = DeviceBuilder::new().name(&self.device).mtu(MTU).build_sync();
        let device = device.map_err(|error| format!("cannot make the network device {}: {error}", self.device))?;
        let exit = exit(self.mark).map_err(|error| format!("cannot open a raw socket: {error}"))?;
        let line = Arc::new(Shared { line: Mutex::new(Line::new(*self.latency)), more: Condvar::new() });
        std::thread::spawn({
            let line = Arc::clone(&line);
            move || line.fill(&device)
        });
        std::thread::spawn({
            let line = Arc::clone(&line);
            move || line.drain(&exit)
        });
        say(&serde_json::json!({ "ready": true }));
        // Interrupted by a signal that does not end it, it goes on.
        while poll(&mut [PollFd::new(&process, PollFlags::IN)], None).is_err() {}
        // Its last words are under way.
        std::thread::sleep(*self.latency);
        let Counts { packets, lost, late } = line.lock().counts;
        let late = late.as_secs_f64() / packets.max(1) as f64;
        say(&serde_json::json!({ "packets": packets, "lost": lost, "late": late }));
        Ok(())
    }
}

/// Whoever has started it may be gone: then nobody needs to know.
fn say(what: &serde_json::Value) {
    let mut output = std::io::stdout().lock();
    let _ = writeln!(output, "{what}").and_then(|()| output.flush());
}

fn exit(mark: u32) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(IPPROTO_RAW)))?;
    socket.set_mark(mark)?;
    Ok(socket)
}

/// A line between two threads.
struct Shared {
    line: Mutex<Line>,
    more: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what comes out of the device, until that is gone.
    fn fill(&self, device: &SyncDevice) {
        let mut packet = vec![0; usize::from(MTU)];
        while let Ok(len) = device.recv(&mut packet) {
            if self.lock().push(now(), &packet[..len]) {
                self.more.notify_one();
            }
        }
    }

    /// Sends on what has waited.
    fn drain(&self, exit: &Socket) {
        let mut line = self.lock();
        loop {
            let at = now();
            if let Some((to, packet)) = line.pop(at) {
                drop(line);
                // A full queue loses packets, as any router's does.
                let _ = exit.send_to(&packet, &SocketAddr::from((to, 0)).into());
                line = self.lock();
            } else {
                let wait = line.next_due().map_or(Duration::from_secs(1), |due| due.saturating_duration_since(at));
                (line, _) = self.more.wait_timeout(line, wait).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "packets wait in real time")]
fn now() -> Instant {
    Instant::now()
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    /// Those that have left.
    packets: u64,
    /// Those for which there was no room.
    lost: u64,
    /// How much longer than they should those that have left waited, in all.
    late: Duration,
}

/// Packets in the order in which they came. No I/O, no clock.
struct Line {
    latency: Duration,
    /// With the times at which they may leave.
    waiting: VecDeque<(Instant, Ipv4Addr, Vec<u8>)>,
    bytes: usize,
    counts: Counts,
}

impl Line {
    fn new(latency: Duration) -> Self {
        Self { latency, waiting: VecDeque::new(), bytes: 0, counts: Counts::default() }
    }

    /// Takes in a packet. What is not IPv4 is nothing that nodes say to each other. Returns whether it is the first one.
    fn push(&mut self, now: Instant, packet: &[u8]) -> bool {
        let Some(to) = destination(packet) else { return false };
        if self.bytes + packet.len() > MAX_WAITING {
            self.counts.lost += 1;
            return false;
        }
        self.bytes += packet.len();
        self.waiting.push_back((now + self.latency, to, packet.to_vec()));
        self.waiting.len() == 1
    }

    /// The next packet that has waited long enough, and where it is to go.
    fn pop(&mut self, now: Instant) -> Option<(Ipv4Addr, Vec<u8>)> {
        self.next_due().filter(|due| *due <= now)?;
        let (due, to, packet) = self.waiting.pop_front()?;
        self.bytes -= packet.len();
        self.counts.packets += 1;
        self.counts.late += now - due;
        Some((to, packet))
    }

    fn next_due(&self) -> Option<Instant> {
        self.waiting.front().map(|(due, ..)| *due)
    }
}

/// Where an IPv4 packet is to go (RFC 791, 3.1: bytes 16 to 19). `None` for anything else.
fn destination(packet: &[u8]) -> Option<Ipv4Addr> {
    let (head, _) = packet.split_first_chunk::<20>()?;
    let [.., a, b, c, d] = *head;
    (head[0] >> 4 == 4).then(|| Ipv4Addr::new(a, b, c, d))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATENCY: Duration = Duration::from_millis(20);

    fn packet(last: u8, len: usize) -> Vec<u8> {
        let mut packet = vec![0; len];
        packet[0] = 0x45;
        packet[16..20].copy_from_slice(&[10, 77, 0, last]);
        packet
    }

    #[test]
    fn each_packet_leaves_in_order_when_it_has_waited() {
        let (mut line, start) = (Line::new(LATENCY), now());
        assert!(line.push(start, &packet(2, 100)));
        assert!(!line.push(start + LATENCY / 2, &packet(3, 60)), "somebody waits already");
        assert_eq!(line.next_due(), Some(start + LATENCY));
        assert_eq!(line.pop(start + LATENCY - Duration::from_nanos(1)), None);
        assert_eq!(line.pop(start + LATENCY), Some((Ipv4Addr::new(10, 77, 0, 2), packet(2, 100))));
        assert_eq!(line.pop(start + LATENCY), None);
        let late = Duration::from_millis(3);
        assert_eq!(line.pop(start + LATENCY * 3 / 2 + late), Some((Ipv4Addr::new(10, 77, 0, 3), packet(3, 60))));
        assert_eq!((line.counts, line.bytes, line.next_due()), (Counts { packets: 2, lost: 0, late }, 0, None));
    }

    #[test]
    fn what_is_too_much_is_lost_and_counted() {
        let (mut line, start) = (Line::new(LATENCY), now());
        let full = MAX_WAITING / usize::from(MTU);
        (0..full + 3).for_each(|_| {
            line.push(start, &packet(2, usize::from(MTU)));
        });
        assert_eq!((line.waiting.len(), line.counts.lost), (full, 3));
        assert!(line.pop(start + LATENCY).is_some());
        line.push(start, &packet(2, usize::from(MTU)));
        assert_eq!((line.waiting.len(), line.counts.lost), (full, 3));
    }

    #[test]
    fn what_is_not_ipv4_is_ignored() {
        let mut line = Line::new(LATENCY);
        for other in [&[][..], &[0x45; 19], &[0x60; 40]] {
            assert!(!line.push(now(), other));
        }
        assert_eq!((line.waiting.len(), line.counts), (0, Counts::default()));
    }
}
