//! Drives the shipped scheduler and upload queue without I/O: performs their actions, and passes messages and timeouts
//! to them.

use std::time::Duration;

use phase_core::{ChunkIndex, ChunkRange, ChunkSet};
use phase_protocol::have_interval;
use phase_protocol::scheduler::{Action, Arrival, ChunkResult, End, Event, HaveUpdate, RequestId};
use phase_protocol::wire::{MAX_RANGES, Refusal};
use phase_scenario::HostileKind;

use crate::swarm::{Message, SLOT, SimEvent, Swarm, key, number};

impl Swarm<'_> {
    /// Drives a client's scheduler: performs its actions, handles its events, and sets its timer.
    pub(crate) fn drive(&mut self, node: u32) {
        let now = self.instant();
        while let Some(action) =
            self.nodes[node as usize].scheduler.as_mut().and_then(|scheduler| scheduler.poll_action(now))
        {
            self.perform(node, action);
        }
        let state = &mut self.nodes[node as usize];
        let Some(scheduler) = &mut state.scheduler else { return };
        while let Some(event) = scheduler.poll_event() {
            if event == Event::Complete && state.finished.is_none() {
                assert!(state.have.is_full(), "the scheduler reported completion although chunks are missing");
                state.finished = Some(self.now);
                self.unfinished -= 1;
                // The same check as in `is_first_client`, which cannot be called while `self.nodes` is borrowed.
                let (seeds, first) = (self.scenario.seeds.len(), self.scenario.clients.count as usize);
                self.unfinished_first -= usize::from((seeds..seeds + first).contains(&(node as usize)));
            }
        }
        if self.is_checked {
            scheduler.check();
        }
        let Some(at) = scheduler.poll_timeout() else { return };
        let at = at.saturating_duration_since(self.base).max(self.now);
        if state.timer.is_none_or(|timer| at < timer) {
            state.timer = Some(at);
            self.queue.add(at, SimEvent::Timer { node });
        }
    }

    fn perform(&mut self, node: u32, action: Action) {
        match action {
            Action::Request { id, peer, ranges, .. } => {
                let [range] = ranges[..] else { panic!("the scheduler must request one range at a time") };
                self.send(node, number(peer), Message::Request { id, range });
            }
            Action::Cancel { id, peer } => self.send(node, number(peer), Message::Cancel { id }),
            Action::Drop { peer } => self.disconnect(node, number(peer)),
            Action::Ban { peer, .. } => {
                let banned = &self.nodes[number(peer) as usize];
                assert_eq!(
                    banned.hostile_kind,
                    Some(HostileKind::Corrupt),
                    "a node that sends no corrupt chunks was banned"
                );
                self.bans += 1;
                self.disconnect(node, number(peer));
            }
        }
    }

    /// Closes the connection between `node` and `other`, and notifies `other`.
    fn disconnect(&mut self, node: u32, other: u32) {
        self.nodes[node as usize].peers.remove(&key(other));
        self.send(node, other, Message::Gone);
    }

    /// Handles a timer event of a node's scheduler. Ignores the event if no timeout is due, because the timer may have
    /// changed since the event was queued.
    pub(crate) fn wake(&mut self, node: u32) {
        let now = self.instant();
        let woken = &mut self.nodes[node as usize];
        if woken.timer.is_none_or(|at| at > self.now) {
            return;
        }
        woken.timer = None;
        if let Some(scheduler) = woken.scheduler.as_mut().filter(|_| woken.alive) {
            scheduler.handle_timeout(now);
            self.drive(node);
        }
    }

    pub(crate) fn handle_request(&mut self, node: u32, from: u32, id: RequestId, range: ChunkRange) {
        let now = self.instant();
        let provider = &mut self.nodes[node as usize];
        let accepted = match provider.hostile_kind {
            Some(HostileKind::Stall) => return,
            Some(HostileKind::Lie) => Err(Refusal::Missing),
            _ => provider.uplink.request(now, key(from), id, vec![range]),
        };
        if let Err(refusal) = accepted {
            self.send(node, from, Message::Refused { request: id, refusal });
        }
        self.schedule_uplink(node);
    }

    pub(crate) fn handle_cancel(&mut self, node: u32, from: u32, id: RequestId) {
        if self.nodes[node as usize].uplink.cancel(key(from), id) {
            self.send(node, from, Message::Done { request: id });
        }
        self.schedule_uplink(node);
    }

    pub(crate) fn handle_reply(&mut self, node: u32, from: u32, reply: Message) {
        let now = self.instant();
        let is_corrupt = self.nodes[from as usize].hostile_kind == Some(HostileKind::Corrupt);
        let state = &mut self.nodes[node as usize];
        let Some(scheduler) = &mut state.scheduler else { return };
        match reply {
            Message::Have(update) => scheduler.handle_have(key(from), SLOT, update),
            Message::Done { request } => scheduler.handle_end(now, key(from), request, End::Done),
            Message::Refused { request, refusal } => {
                scheduler.handle_end(now, key(from), request, End::Refused(refusal))
            }
            Message::Chunk { request, chunk } => {
                let result = if is_corrupt { ChunkResult::Corrupt } else { ChunkResult::Verified };
                let arrival = scheduler.handle_arrival(key(from), request, chunk);
                if arrival == Arrival::Owed(SLOT)
                    && scheduler.handle_chunk(now, key(from), request, SLOT, chunk, result)
                {
                    self.note_verified(node, chunk);
                }
            }
            Message::Request { .. } | Message::Cancel { .. } | Message::Gone => {}
        }
    }

    /// Adds a verified chunk to a client's chunks, schedules a have update, and schedules the scenario's events that
    /// waited for this progress.
    fn note_verified(&mut self, node: u32, chunk: ChunkIndex) {
        let state = &mut self.nodes[node as usize];
        assert!(state.have.insert(chunk), "a client verified a chunk twice");
        state.unannounced.insert(chunk);
        if state.unannounced.count() == 1 {
            let subscribers = u32::try_from(state.peers.len()).unwrap_or(u32::MAX);
            let interval = have_interval(subscribers, state.have.count(), state.have.len());
            let due = state.last_have_update.map_or(self.now, |last| last + interval).max(self.now);
            self.queue.add(due, SimEvent::HaveUpdate { node });
        }
        self.verified += 1;
        while self.progress_events.last().is_some_and(|(verified, _)| *verified <= self.verified) {
            if let Some((_, position)) = self.progress_events.pop() {
                self.queue.add(self.now, SimEvent::Scenario(position));
            }
        }
    }

    /// Sends a have update with the unannounced chunks to every connected peer that is still fetching.
    pub(crate) fn send_have_update(&mut self, node: u32) {
        let state = &mut self.nodes[node as usize];
        if !state.alive {
            return;
        }
        state.last_have_update = Some(self.now);
        let unannounced = std::mem::replace(&mut state.unannounced, ChunkSet::new(self.index.len()));
        let ranges: Vec<_> = unannounced.ranges().collect();
        let peers: Vec<_> = state.peers.iter().map(|peer| number(*peer)).collect();
        for peer in peers.into_iter().filter(|peer| self.nodes[*peer as usize].is_fetching()).collect::<Vec<_>>() {
            for part in ranges.chunks(MAX_RANGES) {
                self.send(node, peer, Message::Have(HaveUpdate::Add(part.to_vec())));
            }
        }
    }

    /// Schedules the arrival of chunks that have left a node's uplink. A chunk arrives after the latency between the
    /// two nodes, and after the receiver's downlink has received all earlier chunks and this chunk.
    pub(crate) fn serve(&mut self, node: u32) {
        let now = self.instant();
        let uplink = &mut self.nodes[node as usize].uplink;
        if uplink.due.is_none_or(|due| due > self.now) {
            return;
        }
        uplink.due = None;
        if !self.nodes[node as usize].alive {
            return;
        }
        while let Some((outgoing, ended)) = self.nodes[node as usize].uplink.take_sent(self.now, now) {
            let (to, request, chunk) = (number(outgoing.to), outgoing.request, outgoing.chunk);
            let bytes = f64::from(self.index.chunk(chunk).expect("a sent chunk is a chunk of the artifact").len);
            let earliest = self.now + self.latency(node, to);
            let receiver = &mut self.nodes[to as usize];
            let arrival = earliest.max(receiver.down_free + Duration::from_secs_f64(bytes / receiver.down));
            receiver.down_free = arrival;
            self.queue.add(arrival, SimEvent::Delivery { to, from: node, message: Message::Chunk { request, chunk } });
            if ended {
                self.queue.add(arrival, SimEvent::Delivery { to, from: node, message: Message::Done { request } });
            }
        }
        self.schedule_uplink(node);
    }

    /// Starts all jobs that a node's upload queue permits, and schedules the next event of the node's uplink.
    pub(crate) fn schedule_uplink(&mut self, node: u32) {
        let (at, now) = (self.now, self.instant());
        let state = &mut self.nodes[node as usize];
        if !state.alive {
            return;
        }
        let next = state.uplink.start(at, now);
        if next != state.uplink.due {
            state.uplink.due = next;
            if let Some(next) = next {
                self.queue.add(next, SimEvent::Uplink { node });
            }
        }
    }
}
