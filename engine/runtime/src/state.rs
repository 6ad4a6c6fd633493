//! What a run works in, kept for the next one, so that a steady run allocates nothing.

use crate::plan::{Operand, Step};
use oxidane_tensor::Datum;
use std::cell::RefCell;
use std::sync::atomic::AtomicUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The values of one run by slot, and what its steps wait for.
pub(crate) struct State {
    cells: Vec<Mutex<Cell>>,
    /// How many steps each step still waits for.
    pub(crate) waits: Vec<AtomicUsize>,
    /// Steps that nobody has taken yet.
    pub(crate) ready: Mutex<Vec<usize>>,
}

/// A slot. The count changes with the cell locked: otherwise who reads last could take the datum while one who came
/// before is still about to look.
#[derive(Default)]
struct Cell {
    datum: Option<Datum>,
    /// How often it is still to be read.
    left: usize,
}

impl Cell {
    fn fetch(&mut self) -> Option<Datum> {
        self.left = self.left.wrapping_sub(1);
        if self.left == 0 { self.datum.take() } else { self.datum.clone() }
    }
}

fn unlocked(cell: &mut Mutex<Cell>) -> &mut Cell {
    cell.get_mut().unwrap_or_else(PoisonError::into_inner)
}

fn locked(cell: &Mutex<Cell>) -> MutexGuard<'_, Cell> {
    cell.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where a step gets its inputs and leaves its outputs: the state of a run that one thread runs, or that several share.
pub(crate) trait Values {
    /// The datum of a slot; moved out where this is its last use.
    fn fetch(&mut self, slot: usize) -> Option<Datum>;

    fn set(&mut self, slot: usize, datum: Option<Datum>);

    /// The datum of an operand.
    fn operand(&mut self, operand: &Operand) -> Option<Datum> {
        match operand {
            Operand::Constant(tensor) => Some(tensor.clone().into()),
            Operand::Slot(slot) => self.fetch(*slot),
        }
    }
}

impl Values for State {
    fn fetch(&mut self, slot: usize) -> Option<Datum> {
        unlocked(&mut self.cells[slot]).fetch()
    }

    fn set(&mut self, slot: usize, datum: Option<Datum>) {
        unlocked(&mut self.cells[slot]).datum = datum;
    }
}

impl Values for &State {
    fn fetch(&mut self, slot: usize) -> Option<Datum> {
        locked(&self.cells[slot]).fetch()
    }

    fn set(&mut self, slot: usize, datum: Option<Datum>) {
        // What was there goes when the cell is open again.
        let _old = std::mem::replace(&mut locked(&self.cells[slot]).datum, datum);
    }
}

/// The states of a plan that no run uses, and how one begins.
pub(crate) struct States {
    waits: Vec<usize>,
    uses: Vec<usize>,
    /// The most inputs or outputs that a step has.
    width: usize,
    /// The most values that bodies of a step capture.
    captured: usize,
    resting: Mutex<Vec<State>>,
}

impl States {
    pub(crate) fn new(steps: &[Step], waits: &[usize], uses: &[usize]) -> States {
        States {
            waits: waits.to_vec(),
            uses: uses.to_vec(),
            width: steps.iter().map(|s| s.inputs.len().max(s.outputs.len())).max().unwrap_or(0),
            captured: steps.iter().map(|s| s.captures.len()).max().unwrap_or(0),
            resting: Mutex::default(),
        }
    }

    /// Lists for the steps of one thread.
    pub(crate) fn hands(&self) -> Hands {
        let mut hands = HANDS.with_borrow_mut(Vec::pop).unwrap_or_default();
        hands.inputs.reserve(self.width);
        hands.outputs.reserve(self.width);
        hands.captures.reserve(self.captured);
        hands
    }

    /// A state at its beginning.
    pub(crate) fn take(&self) -> State {
        let resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let Some(mut state) = resting else {
            let cell = |&left: &usize| Mutex::new(Cell { datum: None, left });
            return State {
                cells: self.uses.iter().map(cell).collect(),
                waits: self.waits.iter().map(|&n| AtomicUsize::new(n)).collect(),
                ready: Mutex::new(Vec::with_capacity(self.waits.len())),
            };
        };
        state.cells.iter_mut().zip(&self.uses).for_each(|(cell, &left)| unlocked(cell).left = left);
        state.waits.iter_mut().zip(&self.waits).for_each(|(count, &n)| *count.get_mut() = n);
        state
    }

    /// Keeps a state for the next run; what a run that failed left in it goes.
    pub(crate) fn put_back(&self, mut state: State) {
        state.cells.iter_mut().for_each(|cell| unlocked(cell).datum = None);
        state.ready.get_mut().unwrap_or_else(PoisonError::into_inner).clear();
        self.resting.lock().unwrap_or_else(PoisonError::into_inner).push(state);
    }

    /// Gives the memory of states back.
    pub(crate) fn trim(&self) {
        self.resting.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// The lists in which a thread gives a step what it reads and gets its outputs.
#[derive(Default)]
pub(crate) struct Hands {
    pub(crate) inputs: Vec<Option<Datum>>,
    pub(crate) outputs: Vec<Option<Datum>>,
    /// What a step's bodies capture.
    pub(crate) captures: Vec<Option<Datum>>,
}

impl Hands {
    /// Keeps the lists for a later run of this thread.
    pub(crate) fn keep(mut self) {
        self.inputs.clear();
        self.outputs.clear();
        self.captures.clear();
        HANDS.with_borrow_mut(|hands| {
            if hands.len() < KEPT_HANDS {
                hands.push(self);
            }
        });
    }
}

/// As many as a thread keeps: one for each run inside of a run.
const KEPT_HANDS: usize = 64;

thread_local! {
    static HANDS: RefCell<Vec<Hands>> = const { RefCell::new(Vec::new()) };
}
