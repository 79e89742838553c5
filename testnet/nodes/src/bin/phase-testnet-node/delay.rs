//! Adds latency to a network link, for kernels without `netem`. Packets are routed into a network device that this
//! program creates, wait in a queue, and are then sent to their destination.

use std::collections::VecDeque;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use socket2::{Domain, Protocol, Socket, Type};
use tun_rs::{DeviceBuilder, SyncDevice};

/// The largest number of bytes in the queue. Further packets are dropped. 64 MiB is the traffic of half a second at 1
/// Gbit/s.
const MAX_WAITING: usize = 64 << 20;
/// The size of the largest packet in bytes, as in an Ethernet frame.
const MTU: u16 = 1500;
/// The protocol number with which a raw socket sends whole IPv4 packets, including their header; see raw(7).
const IPPROTO_RAW: i32 = 255;

/// Delay each packet that a container sends
///
/// Runs in the container's network namespace, creates a network device there and prints {"ready":true}. Sends every
/// packet that is routed into the device to its destination after the delay. After the process given with --beside has
/// exited, prints the counters of packets as JSON and exits.
#[derive(clap::Args)]
pub(crate) struct Delay {
    /// The time for which each packet waits
    #[arg(long, value_name = "TIME")]
    latency: humantime::Duration,
    /// The name of the network device to create
    #[arg(long, value_name = "NAME")]
    device: String,
    /// The firewall mark that is set on delayed packets, so that they are not routed into the device a second time
    #[arg(long, value_name = "NUMBER")]
    mark: u32,
    /// The id of a process of the container; this program exits when that process exits
    #[arg(long, value_name = "PID")]
    beside: i32,
}

impl Delay {
    pub(crate) fn run(self) -> Result<(), String> {
        let process = Pid::from_raw(self.beside).ok_or("--beside 0 is not a process id")?;
        let process = pidfd_open(process, PidfdFlags::empty())
            .map_err(|error| format!("cannot wait for the end of process {}: {error}", self.beside))?;
        let device = DeviceBuilder::new().name(&self.device).mtu(MTU).build_sync();
        let device = device.map_err(|error| format!("cannot create the network device {}: {error}", self.device))?;
        let socket = raw_socket(self.mark).map_err(|error| format!("cannot open a raw socket: {error}"))?;
        let shared = Arc::new(Shared { queue: Mutex::new(DelayQueue::new(*self.latency)), more: Condvar::new() });
        std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || shared.fill(&device)
        });
        std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || shared.drain(&socket)
        });
        print_json(&serde_json::json!({ "ready": true }));
        // Wait again if a signal interrupts the wait without ending this process.
        while poll(&mut [PollFd::new(&process, PollFlags::IN)], None).is_err() {}
        // The last packets from the process are still in the queue, so wait until they are sent.
        std::thread::sleep(*self.latency);
        let Counts { packets, lost, late } = shared.lock().counts;
        let late = late.as_secs_f64() / packets.max(1) as f64;
        print_json(&serde_json::json!({ "packets": packets, "lost": lost, "late": late }));
        Ok(())
    }
}

/// Prints a JSON value. Ignores errors, because the program that reads the output may have ended.
fn print_json(value: &serde_json::Value) {
    let mut output = std::io::stdout().lock();
    let _ = writeln!(output, "{value}").and_then(|()| output.flush());
}

fn raw_socket(mark: u32) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(IPPROTO_RAW)))?;
    socket.set_mark(mark)?;
    Ok(socket)
}

/// The queue, shared by the thread that reads packets and the thread that sends them.
struct Shared {
    queue: Mutex<DelayQueue>,
    more: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, DelayQueue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads packets from the device into the queue until the device is gone.
    fn fill(&self, device: &SyncDevice) {
        let mut packet = vec![0; usize::from(MTU)];
        while let Ok(len) = device.recv(&mut packet) {
            if self.lock().push(now(), &packet[..len]) {
                self.more.notify_one();
            }
        }
    }

    /// Sends each packet when it has waited long enough. Never returns.
    fn drain(&self, socket: &Socket) {
        let mut queue = self.lock();
        loop {
            let at = now();
            if let Some((to, packet)) = queue.pop(at) {
                drop(queue);
                // A failure to send is ignored: if the socket's buffer is full, the packet is lost, as in any router.
                let _ = socket.send_to(&packet, &SocketAddr::from((to, 0)).into());
                queue = self.lock();
            } else {
                let wait = queue.next_due().map_or(Duration::from_secs(1), |due| due.saturating_duration_since(at));
                (queue, _) = self.more.wait_timeout(queue, wait).unwrap_or_else(PoisonError::into_inner);
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
    /// The number of packets that were removed from the queue to be sent.
    packets: u64,
    /// The number of packets that were dropped because the queue was full.
    lost: u64,
    /// The sum of the times by which the packets were late: the delay of a packet minus the latency.
    late: Duration,
}

/// The delayed packets, in order of arrival. This type does no I/O and reads no clock.
struct DelayQueue {
    latency: Duration,
    /// The waiting packets: for each, the earliest time at which it may leave, its destination and its bytes.
    waiting: VecDeque<(Instant, Ipv4Addr, Vec<u8>)>,
    /// The total length of the waiting packets, in bytes.
    bytes: usize,
    counts: Counts,
}

impl DelayQueue {
    fn new(latency: Duration) -> Self {
        Self { latency, waiting: VecDeque::new(), bytes: 0, counts: Counts::default() }
    }

    /// Adds an IPv4 packet to the queue. Ignores other packets, because nodes in containers use only IPv4. Returns true
    /// if the queue was empty before, so that the sending thread must be woken.
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

    /// Removes the first packet from the queue if it has waited long enough. Returns its destination and bytes.
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

/// Returns the destination of an IPv4 packet, which is in bytes 16 to 19 (RFC 791, section 3.1). `None` for other
/// packets.
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
    fn packets_leave_in_order_after_the_latency() {
        let (mut queue, start) = (DelayQueue::new(LATENCY), now());
        assert!(queue.push(start, &packet(2, 100)));
        assert!(!queue.push(start + LATENCY / 2, &packet(3, 60)), "a packet waits already");
        assert_eq!(queue.next_due(), Some(start + LATENCY));
        assert_eq!(queue.pop(start + LATENCY - Duration::from_nanos(1)), None);
        assert_eq!(queue.pop(start + LATENCY), Some((Ipv4Addr::new(10, 77, 0, 2), packet(2, 100))));
        assert_eq!(queue.pop(start + LATENCY), None);
        let late = Duration::from_millis(3);
        assert_eq!(queue.pop(start + LATENCY * 3 / 2 + late), Some((Ipv4Addr::new(10, 77, 0, 3), packet(3, 60))));
        assert_eq!((queue.counts, queue.bytes, queue.next_due()), (Counts { packets: 2, lost: 0, late }, 0, None));
    }

    #[test]
    fn packets_beyond_the_bound_are_dropped_and_counted() {
        let (mut queue, start) = (DelayQueue::new(LATENCY), now());
        let full = MAX_WAITING / usize::from(MTU);
        (0..full + 3).for_each(|_| {
            queue.push(start, &packet(2, usize::from(MTU)));
        });
        assert_eq!((queue.waiting.len(), queue.counts.lost), (full, 3));
        assert!(queue.pop(start + LATENCY).is_some());
        queue.push(start, &packet(2, usize::from(MTU)));
        assert_eq!((queue.waiting.len(), queue.counts.lost), (full, 3));
    }

    #[test]
    fn packets_other_than_ipv4_are_ignored() {
        let mut queue = DelayQueue::new(LATENCY);
        for other in [&[][..], &[0x45; 19], &[0x60; 40]] {
            assert!(!queue.push(now(), other));
        }
        assert_eq!((queue.waiting.len(), queue.counts), (0, Counts::default()));
    }
}
