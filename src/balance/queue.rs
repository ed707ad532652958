//! Who waits for a slot: client by client in turn, and first come first served within a client.
//!
//! One client that sends a thousand requests takes one turn in each round, like one that sends a single one. When as many
//! wait as may, the newest of the longest line makes room for a client whose line is shorter, so that a flood keeps nobody
//! else out.
//!
//! **Invariants.** A client is in the turns if and only if its line is not empty; `len` is the sum of the lines.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use super::Ask;

/// One who waits, and what it is told by.
#[derive(Debug)]
pub(super) struct Waiter<T> {
    pub(super) ask: Ask,
    pub(super) since: Duration,
    pub(super) tell: T,
    ticket: u64,
}

/// What there is for one who waits.
pub(super) enum Turn<R> {
    /// This.
    Served(R),
    /// Nothing for it, maybe something for others.
    Skipped,
    /// Nothing for anybody.
    Over,
}

/// The lines of all clients.
#[derive(Debug)]
pub(super) struct Queue<T> {
    lines: BTreeMap<u64, VecDeque<Waiter<T>>>,
    /// Clients, the one whose turn is next first.
    turns: VecDeque<u64>,
    len: usize,
    max: usize,
    tickets: u64,
}

impl<T> Queue<T> {
    pub(super) fn new(max: usize) -> Self {
        Self { lines: BTreeMap::new(), turns: VecDeque::new(), len: 0, max, tickets: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Takes `ask` in, and says by which ticket it leaves and who had to make room; gives `tell` back if it finds none.
    pub(super) fn join(&mut self, now: Duration, ask: Ask, tell: T) -> Result<(u64, Option<Waiter<T>>), T> {
        let client = ask.client;
        let mut pushed_out = None;
        if self.len >= self.max {
            let mine = self.lines.get(&client).map_or(0, VecDeque::len);
            let longest =
                self.lines.iter().max_by_key(|(_, line)| line.len()).map(|(client, line)| (*client, line.len()));
            let Some((longest, _)) = longest.filter(|(_, length)| *length > mine + 1) else { return Err(tell) };
            pushed_out = self.remove(longest, |line| line.len().checked_sub(1));
        }
        self.tickets += 1;
        let waiter = Waiter { ask, since: now, tell, ticket: self.tickets };
        let line = self.lines.entry(client).or_default();
        if line.is_empty() {
            self.turns.push_back(client);
        }
        line.push_back(waiter);
        self.len += 1;
        self.check_invariants();
        Ok((self.tickets, pushed_out))
    }

    /// Takes one out that gave up. Whoever was served meanwhile is not there any more, and that is fine.
    pub(super) fn leave(&mut self, client: u64, ticket: u64) -> Option<Waiter<T>> {
        // Within a line tickets grow.
        self.remove(client, |line| line.binary_search_by_key(&ticket, |waiter| waiter.ticket).ok())
    }

    /// Gives each its turn, as long as `serve` has something for somebody.
    pub(super) fn serve<R>(&mut self, mut serve: impl FnMut(&Waiter<T>) -> Turn<R>) -> Vec<(Waiter<T>, R)> {
        let mut served = Vec::new();
        // Clients in a row for which there was nothing.
        let mut in_vain = 0;
        while in_vain < self.turns.len() {
            let Some(client) = self.turns.front().copied() else { break };
            let mut found = None;
            for (place, waiter) in self.lines.get(&client).into_iter().flatten().enumerate() {
                match serve(waiter) {
                    Turn::Served(what) => found = Some((place, what)),
                    Turn::Skipped => continue,
                    Turn::Over => {
                        self.turns.rotate_right(in_vain);
                        return served;
                    }
                }
                break;
            }
            self.turns.rotate_left(1);
            match found {
                Some((place, what)) => {
                    in_vain = 0;
                    if let Some(waiter) = self.remove(client, |_| Some(place)) {
                        served.push((waiter, what));
                    }
                }
                None => in_vain += 1,
            }
        }
        self.check_invariants();
        served
    }

    /// Removes the one at the place that `which` finds in the client's line.
    fn remove(&mut self, client: u64, which: impl FnOnce(&VecDeque<Waiter<T>>) -> Option<usize>) -> Option<Waiter<T>> {
        let line = self.lines.get_mut(&client)?;
        let place = which(line)?;
        let waiter = line.remove(place)?;
        self.len -= 1;
        if line.is_empty() {
            self.lines.remove(&client);
            self.turns.retain(|other| *other != client);
        }
        Some(waiter)
    }

    fn check_invariants(&self) {
        debug_assert_eq!(self.len, self.lines.values().map(VecDeque::len).sum::<usize>());
        debug_assert!(self.lines.values().all(|line| !line.is_empty()));
        debug_assert_eq!(self.turns.len(), self.lines.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(client: u64) -> Ask {
        Ask { client, ..Ask::default() }
    }

    fn queue(max: usize, clients: &[u64]) -> Queue<usize> {
        let mut queue = Queue::new(max);
        for (place, client) in clients.iter().enumerate() {
            queue.join(Duration::ZERO, ask(*client), place).unwrap();
        }
        queue
    }

    fn serve(queue: &mut Queue<usize>, mut slots: usize) -> Vec<usize> {
        let served = queue.serve(|_| {
            if slots == 0 {
                return Turn::Over;
            }
            slots -= 1;
            Turn::Served(())
        });
        served.into_iter().map(|(waiter, ())| waiter.tell).collect()
    }

    #[test]
    fn clients_take_turns_and_each_is_served_in_order() {
        let mut queue = queue(100, &[1, 1, 1, 1, 2, 3, 2]);
        assert_eq!(serve(&mut queue, 2), [0, 4]);
        assert_eq!(serve(&mut queue, 1), [5], "the turn is remembered");
        assert_eq!(serve(&mut queue, 9), [1, 6, 2, 3]);
        assert_eq!((queue.len(), serve(&mut queue, 1)), (0, vec![]));
    }

    #[test]
    fn one_for_whom_there_is_nothing_holds_up_nobody_and_keeps_its_turn() {
        let mut queue = queue(100, &[1, 1, 2, 3]);
        let served = queue.serve(|waiter| if waiter.tell == 1 { Turn::Served(()) } else { Turn::Skipped });
        assert_eq!(served.len(), 1);
        assert_eq!(serve(&mut queue, 3), [2, 3, 0]);
    }

    #[test]
    fn who_leaves_is_gone_and_nobody_else() {
        let mut queue = Queue::new(9);
        let tickets: Vec<_> = [1, 1, 2].map(|client| queue.join(Duration::ZERO, ask(client), client).unwrap().0).into();
        queue.leave(1, tickets[0]);
        queue.leave(1, tickets[0]);
        queue.leave(2, tickets[2]);
        queue.leave(7, 1);
        assert_eq!(queue.len(), 1);
        assert_eq!(queue.serve(|_| Turn::Served(())).len(), 1);
    }

    #[test]
    fn a_flood_keeps_nobody_else_out() {
        let mut queue = queue(4, &[1, 1, 1, 1]);
        assert_eq!(queue.join(Duration::ZERO, ask(1), 4).err(), Some(4));
        let (_, out) = queue.join(Duration::ZERO, ask(2), 5).unwrap();
        assert_eq!(out.map(|waiter| waiter.tell), Some(3), "the newest of the longest line");
        let (_, out) = queue.join(Duration::ZERO, ask(3), 6).unwrap();
        assert_eq!(out.map(|waiter| waiter.tell), Some(2));
        assert_eq!(queue.join(Duration::ZERO, ask(2), 7).err(), Some(7), "no line is longer than its own would be");
        assert_eq!(serve(&mut queue, 9), [0, 5, 6, 1]);
        assert_eq!(Queue::new(0).join(Duration::ZERO, ask(1), 1).err(), Some(1));
    }
}
