//! What the drivers of the shipped state machines do, without I/O: carry out actions, hand over what comes.

use std::time::Duration;

use phase_core::{ChunkIndex, ChunkRange, ChunkSet};
use phase_protocol::have_interval;
use phase_protocol::scheduler::{Action, Arrival, ChunkResult, End, Event, HaveUpdate, RequestId};
use phase_protocol::wire::{MAX_RANGES, Refusal};
use phase_scenario::Harm;

use crate::swarm::{Happening, Message, SLOT, Swarm, key, number};

impl Swarm<'_> {
    /// The driver of a client's scheduler: actions, events, timer.
    pub(crate) fn drive(&mut self, node: u32) {
        let now = self.instant();
        while let Some(action) =
            self.nodes[node as usize].scheduler.as_mut().and_then(|scheduler| scheduler.poll_action(now))
        {
            self.carry_out(node, action);
        }
        let state = &mut self.nodes[node as usize];
        let Some(scheduler) = &mut state.scheduler else { return };
        while let Some(event) = scheduler.poll_event() {
            if event == Event::Complete && state.finished.is_none() {
                assert!(state.have.is_full(), "complete with all chunks");
                state.finished = Some(self.now);
                self.unfinished -= 1;
                // Not a closure: the node is borrowed.
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
            self.queue.add(at, Happening::Timer { node });
        }
    }

    fn carry_out(&mut self, node: u32, action: Action) {
        match action {
            Action::Request { id, peer, ranges, .. } => {
                let [range] = ranges[..] else { panic!("the scheduler asks for one range at a time") };
                self.send(node, number(peer), Message::Request { id, range });
            }
            Action::Cancel { id, peer } => self.send(node, number(peer), Message::Cancel { id }),
            Action::Drop { peer } => self.part(node, number(peer)),
            Action::Ban { peer, .. } => {
                let banned = &self.nodes[number(peer) as usize];
                assert_eq!(banned.harm, Some(Harm::Corrupt), "only nodes that send garbage are banned");
                self.bans += 1;
                self.part(node, number(peer));
            }
        }
    }

    /// A node wants nothing more of another one, and tells it.
    fn part(&mut self, node: u32, other: u32) {
        self.nodes[node as usize].peers.remove(&key(other));
        self.send(node, other, Message::Gone);
    }

    /// The scheduler wanted to be woken.
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
        let asked = &mut self.nodes[node as usize];
        let answer = match asked.harm {
            Some(Harm::Stall) => return,
            Some(Harm::Lie) => Err(Refusal::Missing),
            _ => asked.uplink.request(now, key(from), id, vec![range]),
        };
        if let Err(refusal) = answer {
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

    pub(crate) fn handle_answer(&mut self, node: u32, from: u32, answer: Message) {
        let now = self.instant();
        let is_corrupt = self.nodes[from as usize].harm == Some(Harm::Corrupt);
        let state = &mut self.nodes[node as usize];
        let Some(scheduler) = &mut state.scheduler else { return };
        match answer {
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

    fn note_verified(&mut self, node: u32, chunk: ChunkIndex) {
        let state = &mut self.nodes[node as usize];
        assert!(state.have.insert(chunk), "a chunk is new once");
        state.fresh.insert(chunk);
        if state.fresh.count() == 1 {
            let followers = u32::try_from(state.peers.len()).unwrap_or(u32::MAX);
            let interval = have_interval(followers, state.have.count(), state.have.len());
            let due = state.told.map_or(self.now, |told| told + interval).max(self.now);
            self.queue.add(due, Happening::Tell { node });
        }
        self.verified += 1;
        while self.awaited.last().is_some_and(|(verified, _)| *verified <= self.verified) {
            if let Some((_, position)) = self.awaited.pop() {
                self.queue.add(self.now, Happening::Event(position));
            }
        }
    }

    /// Tells the neighbours that fetch what is new.
    pub(crate) fn tell(&mut self, node: u32) {
        let state = &mut self.nodes[node as usize];
        if !state.alive {
            return;
        }
        state.told = Some(self.now);
        let fresh = std::mem::replace(&mut state.fresh, ChunkSet::new(self.index.len()));
        let ranges: Vec<_> = fresh.ranges().collect();
        let followers: Vec<_> = state.peers.iter().map(|peer| number(*peer)).collect();
        for peer in followers.into_iter().filter(|peer| self.nodes[*peer as usize].is_fetching()).collect::<Vec<_>>() {
            for part in ranges.chunks(MAX_RANGES) {
                self.send(node, peer, Message::Have(HaveUpdate::Add(part.to_vec())));
            }
        }
    }

    /// Chunks that have left arrive when the receiver's downlink has taken them in, after what is there before them.
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
            let bytes = f64::from(self.index.chunk(chunk).expect("chunks of the artifact are sent").len);
            let earliest = self.now + self.latency(node, to);
            let receiver = &mut self.nodes[to as usize];
            let arrival = earliest.max(receiver.down_free + Duration::from_secs_f64(bytes / receiver.down));
            receiver.down_free = arrival;
            self.queue.add(arrival, Happening::Heard { to, from: node, message: Message::Chunk { request, chunk } });
            if ended {
                self.queue.add(arrival, Happening::Heard { to, from: node, message: Message::Done { request } });
            }
        }
        self.schedule_uplink(node);
    }

    /// Starts what can be sent, and wakes the uplink when something of it has left.
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
                self.queue.add(next, Happening::Uplink { node });
            }
        }
    }
}
