//! Which of a scenario's events are due.

use phase_scenario::{Event, When};

/// Events that are still to come. Each takes place once.
#[derive(Debug)]
pub(crate) struct Timeline {
    to_come: Vec<Event>,
}

/// How far a run is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment<'a> {
    /// Seconds since the start.
    pub(crate) at: f64,
    /// What clients have verified, as a part of all that they need together.
    pub(crate) progress: f64,
    /// For each client whether it has everything.
    pub(crate) done: &'a [bool],
}

impl Timeline {
    pub(crate) fn new(events: Vec<Event>) -> Self {
        Self { to_come: events }
    }

    /// The next event that is due, in the order in which they are listed.
    pub(crate) fn next(&mut self, now: Moment<'_>) -> Option<Event> {
        let is_due = |event: &Event| match event.when {
            When::At(at) => now.at >= at.as_secs_f64(),
            When::Progress(part) => now.progress >= part,
            When::Done(client) => now.done.get(client as usize).copied().unwrap_or(false),
        };
        let position = self.to_come.iter().position(is_due)?;
        Some(self.to_come.remove(position))
    }

    /// Events that have not taken place.
    pub(crate) fn rest(&self) -> &[Event] {
        &self.to_come
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use phase_scenario::{Change, NodeName};

    #[test]
    fn each_event_takes_place_once_when_it_is_due() {
        let event = |when| Event { nodes: vec![NodeName::Seed(0)], when, change: Change::Kill };
        let whens = [When::Done(1), When::At(Duration::from_secs(2)), When::Progress(0.5), When::At(Duration::ZERO)];
        let mut timeline = Timeline::new(whens.map(event).into());
        let mut due = |at, progress, done: &[bool]| {
            std::iter::from_fn(|| timeline.next(Moment { at, progress, done }))
                .map(|event| event.when)
                .collect::<Vec<_>>()
        };
        assert_eq!(due(0.0, 0.0, &[false, false]), [whens[3]]);
        assert_eq!(due(1.9, 0.4, &[true, false]), []);
        assert_eq!(due(2.0, 0.5, &[true, false]), [whens[1], whens[2]]);
        assert_eq!(due(9.0, 0.9, &[true]), [], "there is no second client");
        assert_eq!(due(9.0, 0.9, &[true, true]), [whens[0]]);
        assert!(timeline.rest().is_empty());
    }
}
