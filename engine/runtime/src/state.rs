//! What a run works in, kept for the next one, so that a steady run allocates nothing.

use crate::plan::Operand;
use oxidane_tensor::Datum;
use std::cell::RefCell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// The values of one run by slot, and what its steps wait for.
pub(crate) struct State {
    cells: Vec<Mutex<Option<Datum>>>,
    /// How often each slot is still to be read.
    left: Vec<AtomicUsize>,
    /// How many steps each step still waits for.
    pub(crate) waits: Vec<AtomicUsize>,
    /// Steps that nobody has taken yet.
    pub(crate) ready: Mutex<Vec<usize>>,
}

impl State {
    /// The datum of an operand; moved out where this is its last use.
    pub(crate) fn fetch(&self, operand: &Operand) -> Option<Datum> {
        match operand {
            Operand::Constant(tensor) => Some(tensor.clone().into()),
            Operand::Slot(slot) => {
                let last = self.left[*slot].fetch_sub(1, Ordering::AcqRel) == 1;
                let mut cell = self.cells[*slot].lock().unwrap_or_else(PoisonError::into_inner);
                if last { cell.take() } else { cell.clone() }
            }
        }
    }

    pub(crate) fn set(&self, slot: usize, datum: Option<Datum>) {
        *self.cells[slot].lock().unwrap_or_else(PoisonError::into_inner) = datum;
    }
}

/// The states of a plan that no run uses, and how one begins.
pub(crate) struct States {
    waits: Vec<usize>,
    uses: Vec<usize>,
    resting: Mutex<Vec<State>>,
}

impl States {
    pub(crate) fn new(waits: &[usize], uses: &[usize]) -> States {
        States { waits: waits.to_vec(), uses: uses.to_vec(), resting: Mutex::default() }
    }

    /// A state at its beginning.
    pub(crate) fn take(&self) -> State {
        let resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let Some(mut state) = resting else {
            let counts = |all: &[usize]| all.iter().map(|&n| AtomicUsize::new(n)).collect();
            return State {
                cells: self.uses.iter().map(|_| Mutex::new(None)).collect(),
                left: counts(&self.uses),
                waits: counts(&self.waits),
                ready: Mutex::new(Vec::with_capacity(self.waits.len())),
            };
        };
        let reset = |counts: &mut [AtomicUsize], all: &[usize]| {
            counts.iter_mut().zip(all).for_each(|(count, &n)| *count.get_mut() = n);
        };
        reset(&mut state.left, &self.uses);
        reset(&mut state.waits, &self.waits);
        state
    }

    /// Keeps a state for the next run; what a run that failed left in it goes.
    pub(crate) fn put_back(&self, mut state: State) {
        for cell in &mut state.cells {
            *cell.get_mut().unwrap_or_else(PoisonError::into_inner) = None;
        }
        state.ready.get_mut().unwrap_or_else(PoisonError::into_inner).clear();
        self.resting.lock().unwrap_or_else(PoisonError::into_inner).push(state);
    }

    /// Gives the memory of states back.
    pub(crate) fn trim(&self) {
        self.resting.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Lists of a step's inputs or outputs that a thread keeps at most.
const KEPT_LISTS: usize = 64;

thread_local! {
    static LISTS: RefCell<Vec<Vec<Option<Datum>>>> = const { RefCell::new(Vec::new()) };
}

/// An empty list for the inputs or outputs of a step.
pub(crate) fn list() -> Vec<Option<Datum>> {
    LISTS.with_borrow_mut(Vec::pop).unwrap_or_default()
}

/// Keeps a list for the next step of this thread.
pub(crate) fn keep(mut list: Vec<Option<Datum>>) {
    list.clear();
    LISTS.with_borrow_mut(|lists| {
        if lists.len() < KEPT_LISTS {
            lists.push(list);
        }
    });
}
