use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// How many parts a turn has at most.
pub(super) const PARTS: usize = 16;

/// Looks before a thread that waits gives its processor away.
const SPINS: usize = 4096;

#[repr(align(128))]
#[derive(Default)]
struct Padded(AtomicUsize);

/// Turns of several parts, where a turn needs all parts of the one before. Each part has an owner, but whoever comes
/// alone does all: a thread waits only for parts that a running thread has taken or is bound to take, so that it does
/// not matter how many of the owners run at the same time, or ever.
pub(super) struct Relay {
    turns: usize,
    parts: usize,
    /// Turns of each part that were taken.
    taken: [Padded; PARTS],
    /// Parts that are done, of all turns.
    done: Padded,
    /// Owners that have come: they stay to the end.
    here: [AtomicBool; PARTS],
    stopped: AtomicBool,
}

/// Frees those who wait when a part ends by a panic.
struct Guard<'a>(&'a Relay);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop();
        }
    }
}

impl Relay {
    /// `turns` turns of up to [`PARTS`] parts.
    pub(super) fn new(turns: usize, parts: usize) -> Relay {
        Relay {
            turns,
            parts: parts.clamp(1, PARTS),
            taken: Default::default(),
            done: Padded::default(),
            here: Default::default(),
            stopped: AtomicBool::new(false),
        }
    }

    pub(super) fn parts(&self) -> usize {
        self.parts
    }

    /// Ends all before their time.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    /// Takes part as the owner of part `own`, of which there is one at most. `work(turn, part)` runs once for each.
    pub(super) fn join(&self, own: usize, work: impl Fn(usize, usize)) {
        let _guard = Guard(self);
        self.here[own].store(true, Ordering::SeqCst);
        for turn in 0..self.turns {
            if !self.wait(turn * self.parts) {
                return;
            }
            for i in 0..self.parts {
                let part = (own + i) % self.parts;
                if part != own && self.here[part].load(Ordering::SeqCst) {
                    continue;
                }
                let taken = &self.taken[part].0;
                if taken.compare_exchange(turn, turn + 1, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                    work(turn, part);
                    self.done.0.fetch_add(1, Ordering::AcqRel);
                }
            }
        }
    }

    /// Waits until so many parts are done; false when all was stopped.
    fn wait(&self, count: usize) -> bool {
        let mut looks = 0;
        while self.done.0.load(Ordering::Acquire) < count {
            if self.stopped.load(Ordering::Acquire) {
                return false;
            }
            looks += 1;
            if looks < SPINS {
                std::hint::spin_loop();
            } else {
                std::thread::yield_now();
            }
        }
        !self.stopped.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each turn sees all of the turn before, whoever comes and whenever.
    #[test]
    fn every_part_of_every_turn_once_and_in_order() {
        for parts in [1, 2, 3, 5] {
            for (threads, late) in [(1, 0), (2, 0), (parts, 0), (parts, 50), (parts, 500)] {
                let threads = threads.min(parts);
                let relay = Relay::new(1000, parts);
                let counts: Vec<AtomicUsize> = (0..parts).map(|_| AtomicUsize::new(0)).collect();
                std::thread::scope(|scope| {
                    for own in 0..threads {
                        let (relay, counts) = (&relay, &counts);
                        scope.spawn(move || {
                            std::thread::sleep(std::time::Duration::from_micros((own * late) as u64));
                            relay.join(own, |turn, part| {
                                for (i, count) in counts.iter().enumerate() {
                                    let seen = count.load(Ordering::Relaxed);
                                    assert!(seen == turn || seen == turn + 1 && i != part);
                                }
                                counts[part].fetch_add(1, Ordering::Relaxed);
                            });
                        });
                    }
                });
                assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 1000));
            }
        }
    }

    #[test]
    fn a_stop_ends_it() {
        let relay = Relay::new(10, 2);
        let count = AtomicUsize::new(0);
        relay.join(1, |turn, _| {
            count.fetch_add(1, Ordering::Relaxed);
            if turn == 3 {
                relay.stop();
            }
        });
        assert_eq!(count.load(Ordering::Relaxed), 8);
    }
}
